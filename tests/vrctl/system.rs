//! What is asked of the machine: updates, and a start anew.

use std::fs;

use serde_json::json;

use crate::router::{Router, answer};
use crate::{PROBLEM, ask, end, vrctl};

#[test]
fn an_update_is_sent_as_it_is_and_the_machine_started_again_where_that_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vrouter.update");
    let content = "an update of many octets ".repeat(40_000);
    fs::write(&file, &content).unwrap();
    let path = file.to_str().unwrap();
    let installed =
        json!({"version": "0.2.0", "runs": "0.1.0", "slot": "b", "starts": "vrouter_0.2.0+3.efi"});
    let router = Router::new(&answer(200, "application/json", &installed.to_string()));
    let line = ["system", "update", path, "--force", "--reboot"];
    let said = end(vrctl(&line).arg("--socket").arg(router.socket()));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "0.2.0 is in slot b and starts with the machine's next start; 0.1.0 runs until then"
    );
    assert_eq!(lines[1], "the machine starts again, with vrouter_0.2.0+3.efi");
    let heard = router.heard();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/system/update?force=true HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", content.len())), "{head}");
    assert!(head.contains("content-type: application/octet-stream") && body == content, "{head}");
    assert!(router.heard().starts_with("POST /v1/system/reboot HTTP/1.1\r\n"));

    let (said, _) = ask(&["system", "update", path], &answer(409, "application/problem+json", PROBLEM));
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{}", said.stderr);
    for missing in [folder.path().join("nothing"), folder.path().to_owned()] {
        let said = end(&mut vrctl(&["system", "update", missing.to_str().unwrap()]));
        assert_eq!(said.code, Some(2), "{}", said.stderr);
    }
}
