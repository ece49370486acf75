//! An update of the firmware that comes over SSH: it streams as any other does, and one that is cut off leaves nothing.

use std::io::Write as _;

use super::client::{Desk, said};
use crate::appliance::firmware::{Machine, update};
use crate::appliance::house::{document, grounds};
use crate::lab::until;

#[test]
fn an_update_comes_over_ssh() {
    let (lab, machine, desk) = (grounds(), Machine::new(), Desk::new());
    let router = machine.router(&lab, &[]);
    let mut wanted = document();
    wanted["ssh"] = desk.ssh();
    router.configure(&wanted);
    let file = update("0.2.0", &vec![7; 48 << 20], &vec![8; 9 << 20], 1);
    let before = router.memory("VmHWM");
    // Its sender goes in the middle.
    let mut client = desk.start(&lab, ("admin", "alice"), &[], &["system", "update", "-"]);
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(&file[..20 << 20]).unwrap();
    lab.run_all("admin", &["pkill", "-KILL", "-P", &client.id().to_string()]);
    client.wait().unwrap();
    drop(stdin);
    until("it is given up", || router.log().contains("an update is not taken").then_some(()));
    assert_eq!(router.get("/v1/system").body["last_update"], serde_json::Value::Null);
    // Who may only look sends none.
    let told = said(desk.start(&lab, ("admin", "bob"), &[], &["system", "update", "-"]), &file);
    assert_eq!(told.code, Some(1), "{told:#?}");
    let told = said(desk.start(&lab, ("admin", "alice"), &[], &["system", "update", "-"]), &file);
    assert!(told.code == Some(0) && told.out.starts_with("0.2.0 is in slot b"), "{told:#?}");
    let grown = router.memory("VmHWM") - before;
    assert!(grown < 16 << 10, "three uploads went through, and took {grown} KiB");
}
