//! What the program says of itself: help, examples, and what a shell completes.

use std::fs;
use std::process::Command;

use crate::{end, vrctl};

/// The commands that the program, or one of its commands, says it has.
fn commands(of: &[&str]) -> Vec<String> {
    let help = end(vrctl(of).arg("--help")).stdout;
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let words = named.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    words.filter(|word| word != "help").collect()
}

#[test]
fn every_command_has_help_with_examples() {
    let all = commands(&[]);
    assert!(all.len() >= 15, "{all:?}");
    for command in &all {
        let below = commands(&[command]);
        let lines = if below.is_empty() {
            vec![vec![command.as_str()]]
        } else {
            below.iter().map(|word| vec![command.as_str(), word.as_str()]).collect()
        };
        for line in lines {
            let said = end(vrctl(&line).arg("--help"));
            assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
            let line = line.join(" ");
            let (_, examples) =
                said.stdout.split_once("Example").unwrap_or_else(|| panic!("{line}: no example"));
            // An example that the program does not understand would be a lie.
            assert!(examples.contains(&format!("vrctl {line}")), "{line}: {examples}");
        }
    }
    assert_eq!(end(&mut vrctl(&["--version"])).stdout, format!("vrctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(end(&mut vrctl(&[])).code, Some(2));
}

#[test]
fn bash_understands_the_completion_and_offers_every_command() {
    let script = end(&mut vrctl(&["completion", "bash"])).stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vrctl");
    fs::write(&path, &script).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&path).status().unwrap().success());
    let offer = format!(
        "source {}; COMP_WORDS=(vrctl ''); COMP_CWORD=1; _vrctl vrctl '' vrctl; echo \"${{COMPREPLY[@]}}\"",
        path.display()
    );
    let offered = end(Command::new("bash").args(["-c", &offer])).stdout;
    let offered: Vec<_> = offered.split_whitespace().collect();
    for command in commands(&[]) {
        assert!(offered.contains(&command.as_str()), "{command} is not in {offered:?}");
    }
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(end(&mut vrctl(&["completion", shell])).stdout.contains("rollback"), "{shell}");
    }
}
