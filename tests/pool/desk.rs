//! What the stories with VMs have at hand inside of their namespaces: programs, golden domains, stations, viewers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The authorities that viewers trust.
pub(crate) const AUTHORITIES: &str = "/run/authorities.pem";
pub(crate) fn golden_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pool")
}

/// Runs a program that has to succeed, and returns what it said.
pub(crate) fn ok(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Defines a domain with the kernel of `tests/pool/golden`.
pub(crate) fn define(name: &str, disk: &str) {
    let files = golden_files();
    let files = files.display();
    fs::copy(golden_files().join("disk.raw"), disk).unwrap();
    let text = format!(
        "<domain type='qemu'><name>{name}</name><genid/><memory unit='MiB'>128</memory><vcpu>1</vcpu>
           <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{files}/kernel</kernel>
             <initrd>{files}/initrd</initrd><cmdline>console=ttyS0 quiet panic=-1</cmdline></os>
           <features><acpi/></features>
           <devices>
             <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>
               <target dev='vda' bus='virtio'/></disk>
             <controller type='usb' model='none'/>
             <interface type='bridge'><mac address='52:54:00:01:02:03'/><source bridge='pool0'/>
               <model type='virtio'/><port isolated='yes'/></interface>
             <serial type='file'><source path='/run/serial'/></serial>
             <graphics type='spice' autoport='yes' listen='127.0.0.1'/>
             <video><model type='vga' vram='8192' heads='1'/></video>
             <memballoon model='none'/>
           </devices></domain>"
    );
    fs::write("/run/domain.xml", text).unwrap();
    ok("virsh --quiet define /run/domain.xml");
}

/// What a VM wrote on its serial line.
pub(crate) fn serial(vm: &str) -> String {
    fs::read_to_string(format!("/run/serial.{vm}")).unwrap_or_default()
}

/// A station in a namespace of its own, on a wire to the host.
pub(crate) fn station(number: u8) {
    ok(&format!(
        "ip netns add desk{number} && ip link add desk{number} type veth peer name eth0 netns desk{number} && \
         ip address add 10.9.{number}.1/24 dev desk{number} && ip link set desk{number} up && \
         ip -n desk{number} address add 10.9.{number}.2/24 dev eth0 && ip -n desk{number} link set eth0 up && \
         ip -n desk{number} link set lo up"
    ));
}

/// Takes a picture of the console at this address; whether that worked.
pub(crate) fn picture(number: u8, address: &str, password: Option<&str>) -> bool {
    let file = format!("/run/picture{number}.ppm");
    let _ = fs::remove_file(&file);
    let mut command = Command::new("timeout");
    command.args(["30", "ip", "netns", "exec", &format!("desk{number}"), "spicy-screenshot"]);
    command.arg(format!("--uri=spice://{address}")).args(["-o", &file]).env("SSL_CERT_FILE", AUTHORITIES);
    if let Some(password) = password {
        command.args(["-w", password]);
    }
    let words = fs::File::create("/run/picture.log").unwrap();
    let status = command.stdout(words.try_clone().unwrap()).stderr(words).status().unwrap();
    status.success() && fs::metadata(&file).is_ok_and(|file| file.len() > 1000)
}

/// A viewer that stays until it is told to go.
pub(crate) fn viewer(number: u8) -> Child {
    Command::new("ip")
        .args(["netns", "exec", &format!("desk{number}"), "spicy-stats"])
        .arg(format!("--uri=spice://10.9.{number}.1:5906"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
