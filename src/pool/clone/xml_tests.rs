//! Clones of a description that has everything that is awkward in it.

use proptest::prelude::*;

use roxmltree::Document;

use super::super::read::{Golden, console, machine, mark};
use super::*;

const GOLDEN: &str = r#"<?xml version='1.0'?>
<!-- a comment & all -->
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win7</name>
  <uuid>11111111-1111-1111-1111-111111111111</uuid>
  <genid>22222222-2222-2222-2222-222222222222</genid>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"/>
  </metadata>
  <memory unit='MiB'>512</memory>
  <os><type machine='pc-q35-7.2'>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/win7.fd</nvram></os>
  <description><![CDATA[5 < 6 &]]> &#233;</description>
  <devices>
    <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache="none"/>
      <source file='/golden/win7.img' index='1'/>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:aa:bb:cc'/>
      <source bridge='br0'/>
      <target dev='vnet4'/>
      <port isolated='yes'/>
    </interface>
    <interface type='bridge'><mac address='52:54:00:aa:bb:cd'/><source bridge='br1'/></interface>
    <serial type='file'><source path='/var/log/win7.log'/><target port='0'/></serial>
    <graphics type='spice' autoport='yes' tlsPort='-1'><listen type='address'/><image compression='off'/></graphics>
  </devices>
  <qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline>
</domain>
"#;

fn own<'a>(mark: &'a str) -> Own<'a> {
    Own {
        name: "win7-5921",
        uuid: "33333333-3333-3333-3333-333333333333",
        mac: [0x52, 0x54, 0, 0, 0x17, 0xff],
        disk: Path::new("/run/pool/win7-5921.qcow2"),
        console: "127.0.0.1:5921".parse().unwrap(),
        password: "pass'word",
        mark,
    }
}

#[test]
fn a_clone_differs_in_nothing_but_what_is_its_own() {
    let cloned = clone(GOLDEN, &own("{\"state\":\"clean\"}"), Interfaces::Own).unwrap();
    let expected = GOLDEN
        .replace("<name>win7<", "<name>win7-5921<")
        .replace("11111111-1111-1111-1111-111111111111", "33333333-3333-3333-3333-333333333333")
        .replace("22222222-2222-2222-2222-222222222222", "33333333-3333-3333-3333-333333333333")
        .replace("<metadata>", "<metadata><vrouter-pool:slot xmlns:vrouter-pool=\"urn:vrouter:pool:1\">{&quot;state&quot;:&quot;clean&quot;}</vrouter-pool:slot>")
        .replace("<nvram>/var/lib/libvirt/qemu/nvram/win7.fd</nvram>", "")
        .replace("type='raw'", "type='qcow2'")
        .replace("/golden/win7.img", "/run/pool/win7-5921.qcow2")
        .replace("\n      <backingStore/>", "")
        .replace("\n      <target dev='vnet4'/>", "")
        .replace("52:54:00:aa:bb:cc", "52:54:00:00:17:ff")
        .replace("52:54:00:aa:bb:cd", "52:54:00:00:18:00")
        .replace("/var/log/win7.log", "/var/log/win7.log.win7-5921")
        .replace(
            "<graphics type='spice' autoport='yes' tlsPort='-1'><listen type='address'/>",
            "<graphics port='5921' listen='127.0.0.1' passwd='pass&apos;word' passwdValidTo='1970-01-01T00:00:01' \
             type='spice' autoport='no' ><listen type='address' address='127.0.0.1'/>",
        );
    assert_eq!(cloned, expected);
    assert_eq!(mark(&cloned).as_deref(), Some("{\"state\":\"clean\"}"));
    assert_eq!(console(&cloned), Some("127.0.0.1:5921".parse().unwrap()));
    // A clone's own description, cloned again, has one mark.
    let again = clone(&cloned, &own("second"), Interfaces::LeftOut).unwrap();
    assert_eq!((mark(&again).as_deref(), again.matches("slot").count()), (Some("second"), 2));
    assert!(!again.contains("<interface"));
    let cards = interfaces(&cloned).unwrap();
    assert_eq!(cards.len(), 2);
    let second =
        "<interface type='bridge'><mac address='52:54:00:00:18:00'/><source bridge='br1'/></interface>";
    assert_eq!(cards[1], second);
    let without = without_interfaces(&cloned).unwrap();
    assert!(!without.contains("interface") && without.contains("<serial"), "{without}");
    assert_eq!(machine(GOLDEN).as_deref(), Some("pc-q35-7.2"));
}

#[test]
fn a_console_gets_a_ticket_and_stays_what_it_is() {
    let cloned = clone(GOLDEN, &own("m"), Interfaces::Own).unwrap();
    let element = console_with_password(&cloned, "t<1>", Some("2030-01-01T00:00:00")).unwrap();
    assert!(element.starts_with("<graphics port='5921'") && element.ends_with("</graphics>"), "{element}");
    assert!(
        element.contains("passwd='t&lt;1&gt;'") && element.contains("'2030-01-01T00:00:00'"),
        "{element}"
    );
    assert!(!console_with_password(&cloned, "t", None).unwrap().contains("passwdValidTo"));
}

#[test]
fn what_clones_cannot_share_is_refused() {
    let golden = Golden::read(GOLDEN).unwrap();
    assert_eq!((golden.disk.to_str(), golden.format.as_str()), (Some("/golden/win7.img"), "raw"));
    assert_eq!((golden.target.as_str(), golden.memory), ("vda", 512 << 20));
    let second = GOLDEN.replace("</devices>", "<disk device='disk'><target dev='vdb'/></disk></devices>");
    assert!(Golden::read(&second).unwrap_err().to_string().contains("vdb"));
    let vnc = GOLDEN.replace("type='spice'", "type='vnc'");
    assert_eq!(Golden::read(&vnc), Err(XmlError::Lacks("console of type spice")));
    let both = GOLDEN.replace("</devices>", "<graphics type='vnc'/></devices>");
    assert!(Golden::read(&both).is_err());
    assert!(matches!(Golden::read("<domain>"), Err(XmlError::Syntax(_))));
    let entity = "<!DOCTYPE d [<!ENTITY a 'b'>]><domain>&a;</domain>";
    assert!(matches!(Golden::read(entity), Err(XmlError::Syntax(_))));
}

/// Things that stand in descriptions and that nobody may touch.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,12}".prop_map(|text| format!("<!-- {text} -->")),
        "[a-z<&]{0,12}".prop_map(|text| format!("<description><![CDATA[{text}]]></description>")),
        "[a-z]{1,8}".prop_map(|name| format!("<x:{name} xmlns:x='urn:foreign'  a=\"&#65;&amp;\" />")),
        "[a-zäß]{0,8}".prop_map(|text| format!("<title>{text}</title>\n\t")),
    ]
}

proptest! {
    /// Whatever stands between the parts, and in whatever order, comes through; and what was set is read back.
    #[test]
    fn foreign_parts_come_through(
        parts in proptest::collection::vec(foreign(), 4),
        name in "[a-z<&'\"äß]{1,20}",
        mark_text in "[ -~]{0,60}",
        console_first: bool,
    ) {
        let [a, b, c, d] = [&parts[0], &parts[1], &parts[2], &parts[3]];
        let disk = format!("<disk type='file'><source file='/g'/>{b}<target dev='vda'/></disk>");
        let graphics = "<graphics type='spice'/>";
        let devices = if console_first { format!("{graphics}{c}{disk}") } else { format!("{disk}{c}{graphics}") };
        let golden = format!("<domain>{a}<name>g</name><memory>1</memory><devices>{devices}</devices>{d}</domain>");
        let own = Own { name: &name, ..own(&mark_text) };
        let cloned = clone(&golden, &own, Interfaces::Own).unwrap();
        for part in &parts {
            prop_assert!(cloned.contains(part.as_str()));
        }
        let document = Document::parse(&cloned).unwrap();
        let read = child(document.root_element(), "name").and_then(|node| node.text());
        prop_assert_eq!(read, Some(name.as_str()));
        prop_assert_eq!(mark(&cloned), Some(mark_text));
        prop_assert_eq!(console(&cloned), Some("127.0.0.1:5921".parse().unwrap()));
        prop_assert_eq!(Golden::read(&cloned).unwrap().disk, Path::new("/run/pool/win7-5921.qcow2"));
    }

    /// No description makes the reading fail otherwise than by saying so.
    #[test]
    fn nothing_that_is_read_crashes(text in "[<>/a-z'= ]{0,200}") {
        let _ = Golden::read(&text);
        let _ = clone(&text, &own("m"), Interfaces::Own);
        let _ = mark(&text);
        let _ = console(&text);
    }
}
