//! All of the router's kernel that a configuration reaches, as lines that can be compared later.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Instant;

use tempfile::NamedTempFile;

use crate::lab::{Lab, PATIENCE, until};

/// What was there at one time. Counters and what the kernel does by itself are left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    nft: &'static str,
    lines: Vec<String>,
}

impl Picture {
    /// The kernel as it is.
    pub(crate) fn of(lab: &Lab) -> Self {
        Self::by(lab, "nft -s list ruleset")
    }

    /// The kernel as it is, with the handle of each rule, chain and set: what was taken away and put back differs.
    pub(crate) fn with_handles(lab: &Lab) -> Self {
        Self::by(lab, "nft -s -a list ruleset")
    }

    fn by(lab: &Lab, nft: &'static str) -> Self {
        // Sets and chains stand in the order in which they were made, which says nothing; rules within a chain do.
        let ruleset = lab.ok("router", nft).replace("table inet vrouter {", "\n\t}");
        let mut blocks: Vec<&str> = ruleset.split("\n\t}").map(str::trim).collect();
        blocks.sort_unstable();
        let mut lines: Vec<String> =
            blocks.iter().flat_map(|block| block.lines()).map(str::to_owned).collect();
        for command in ["ip -o -4 address show", "ip -4 route show table all", "ip rule", "ip -o link"] {
            let mut more: Vec<String> = lab.ok("router", command).lines().map(line).collect();
            more.sort_unstable();
            lines.extend(more);
        }
        Self { nft, lines }
    }

    /// Asserts that the kernel is still like that.
    #[track_caller]
    pub(crate) fn is(&self, lab: &Lab, when: &str) {
        if let Some(difference) = self.difference(lab) {
            panic!("{when}, the kernel is another:\n{difference}");
        }
    }

    /// Waits until the kernel is like that again.
    #[track_caller]
    pub(crate) fn comes_back(&self, lab: &Lab, after: &str) {
        let begin = Instant::now();
        while let Some(difference) = self.difference(lab) {
            assert!(begin.elapsed() < PATIENCE, "`{after}` is not undone:\n{difference}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn difference(&self, lab: &Lab) -> Option<String> {
        let now = Self::by(lab, self.nft);
        let lacks = |sign: char, of: &Self, among: &Self| -> String {
            let lines = of.lines.iter().filter(|line| !among.lines.contains(line));
            lines.map(|line| format!("{sign} {line}\n")).collect()
        };
        // Lines that are in another order only are named by nobody.
        (*self != now).then(|| lacks('-', self, &now) + &lacks('+', &now, self))
    }
}

/// A line without what changes by itself: the state of a link.
fn line(line: &str) -> String {
    let words = line.split(' ').scan(false, |is_state, word| {
        let skip = std::mem::replace(is_state, word == "state");
        Some(if skip { "" } else { word })
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What nft(8) is told of changes, from one time on.
#[derive(Debug)]
pub(crate) struct Watch {
    file: NamedTempFile,
    child: Child,
}

impl Watch {
    /// Watches the tables of the router.
    pub(crate) fn start(lab: &Lab) -> Self {
        let file = NamedTempFile::new().unwrap();
        let child = lab
            .command("router", &["nft", "monitor"])
            .stdin(Stdio::null())
            .stdout(file.reopen().unwrap())
            .spawn()
            .unwrap();
        let watch = Self { file, child };
        watch.mark(lab, "begin");
        watch
    }

    /// Makes a change of the test's own, and waits until it is told.
    fn mark(&self, lab: &Lab, name: &str) -> String {
        until("the watch sees the mark", || {
            lab.ok("router", &format!("nft add table inet {name}"));
            lab.ok("router", &format!("nft delete table inet {name}"));
            let told = fs::read_to_string(self.file.path()).unwrap();
            told.contains(&format!("delete table inet {name}")).then_some(told)
        })
    }

    /// Everything that was told, but for the test's own marks.
    pub(crate) fn end(mut self, lab: &Lab) -> Vec<String> {
        let told = self.mark(lab, "end");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let own = |line: &&str| {
            !line.starts_with('#') && !line.ends_with("inet begin") && !line.ends_with("inet end")
        };
        told.lines().filter(own).map(str::to_owned).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
