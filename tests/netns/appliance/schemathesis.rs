//! Requests that nobody thought of, made from the API's own description by schemathesis: the router fails at none of them,
//! and answers nothing that its description does not name.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::house::{document, grounds};
use super::router::Router;
use crate::lab::{skip, until};

/// What is installed, from PyPI.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// What its answers are held against: no 5xx, and nothing that is not described; what the description forbids is refused.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,unsupported_method,negative_data_rejection";
/// How many requests are made of each operation, besides those that cover its parameters.
const EXAMPLES: &str = "5";

/// Where the program is, installed on first use.
fn program() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis");
    let program = folder.join("bin/st");
    let mark = folder.join(SCHEMATHESIS);
    if mark.exists() && program.exists() {
        return Ok(program);
    }
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "--retries", "1", SCHEMATHESIS]))?;
    std::fs::write(mark, "").map_err(|error| error.to_string())?;
    Ok(program)
}

#[test]
fn requests_that_nobody_thought_of_are_answered_as_described() {
    let program = match program() {
        Ok(program) => program,
        Err(reason) => {
            return skip(&format!("property-based requests: schemathesis cannot be installed: {reason}"));
        }
    };
    let seed = std::env::var("VROUTER_SEED").unwrap_or_else(|_| "20261121".to_owned());
    eprintln!("VROUTER_SEED={seed}");
    let lab = grounds();
    let router = Router::start(&lab, "router");
    router.configure(&document());
    let program = program.display().to_string();
    let arguments = [
        program.as_str(),
        "run",
        "http://127.0.0.1:7270/openapi.json",
        "--checks",
        CHECKS,
        "--max-examples",
        EXAMPLES,
        "--seed",
        &seed,
        "--no-color",
    ];
    let folder = tempfile::tempdir().unwrap();
    let output = lab.command("router", &arguments).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = said.lines().find(|line| line.contains("generated, ")).unwrap_or_else(|| panic!("{said}"));
    eprintln!("{}", passed.trim());
    assert!(!router.log().contains("panicked"), "{}", router.log());
    // Whatever it was led to, it is led on.
    until("the router takes a document", || (router.post(&document()).status == 200).then_some(()));
    assert_eq!(router.get("/v1/status").status, 200);
}
