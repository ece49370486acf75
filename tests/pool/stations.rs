//! Stations at the signal port: the old client's own loop around `nc -i 1`, and stations that behave worse.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use vrouter::pool::fake::{FakeDoor, FakeHost};
use vrouter::pool::slot::State;

use crate::lab::PATIENCE;
use crate::rig::{Running, config};

/// What an old station runs: it reads until the line comes, and then starts its viewer.
const OLD_CLIENT: &str = r#"
nc -s "$3" -i 1 "$1" "$2" </dev/null | while read -r line; do
    if [ "$line" = "RULE ADDED, CONNECT NOW!" ]; then echo connect >"$4"; break; fi
done
echo over >>"$4"
"#;

fn old_client(port: SocketAddr, station: IpAddr, file: &Path) -> Child {
    Command::new("sh")
        .args([
            "-c",
            OLD_CLIENT,
            "sh",
            &port.ip().to_string(),
            &port.port().to_string(),
            &station.to_string(),
        ])
        .arg(file)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

fn station(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 9, number])
}

/// Two old stations get a VM each, their loops end once their viewers are connected, and a third waits.
#[tokio::test]
async fn old_stations_work_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 2\n[signal]\ntries = 60\n");
    let host = Arc::new(FakeHost::new("kiosk", Path::new("/overlays")));
    let door = Arc::new(FakeDoor::default());
    let pool = Running::start(&config, &host, door.clone());
    let port = pool.signal_port(8);
    let file = |number: u8| folder.path().join(number.to_string());
    let said = |number: u8| std::fs::read_to_string(file(number)).unwrap_or_default();
    let mut clients: Vec<Child> =
        (1..=2).map(|number| old_client(port, station(number), &file(number))).collect();
    let mut bound = Vec::new();
    for number in 1..=2 {
        until("told to connect", || said(number).starts_with("connect\n")).await;
        bound.push(door.connect(station(number)).unwrap());
    }
    assert_ne!(bound[0], bound[1], "two stations, one VM");
    for number in 1..=2 {
        until("a loop that ends", || said(number).ends_with("over\n")).await;
    }
    clients.push(old_client(port, station(3), &file(3)));
    let waits = |status: &vrouter::pool::status::Status| {
        let third = status.stations.iter().find(|other| other.station == station(3));
        third.is_some_and(|third| third.told.contains("all VMs are in use"))
    };
    pool.until("the third waits", waits).await;
    assert!(door.connect(station(3)).is_none(), "the third station came in");
    door.disconnect(station(1));
    until("the third is served", || said(3).starts_with("connect\n")).await;
    let third = door.connect(station(3)).unwrap();
    assert!(!bound.contains(&third));
    until("the third's loop ends", || said(3).ends_with("over\n")).await;
    for mut client in clients {
        client.wait().unwrap();
    }
    pool.stop().await;
}

/// A station that never connects costs nothing: its VM goes back untouched, and it is told.
#[tokio::test]
async fn a_reservation_that_nobody_uses_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 1\n[signal]\ntries = 2\n");
    let host = Arc::new(FakeHost::new("kiosk", Path::new("/overlays")));
    let door = Arc::new(FakeDoor::default());
    let pool = Running::start(&config, &host, door.clone());
    let port = pool.signal_port(8);
    pool.full().await;
    let (before, _) = host.everything();
    let mut stream = TcpStream::connect(port).await.unwrap();
    let mut lines = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut lines)).await.unwrap().unwrap();
    let told = lines.lines().filter(|line| *line == "RULE ADDED, CONNECT NOW!").count();
    assert!((2..=4).contains(&told), "{lines}");
    assert!(lines.lines().last().unwrap().starts_with("TIMEOUT"), "{lines}");
    pool.full().await;
    let (after, _) = host.everything();
    assert_eq!(before[0].1, after[0].1, "the VM is the same");
    assert_eq!(pool.status().await.unwrap().counters.created, 1);
    pool.stop().await;
}

/// Stations that never read, talk nonsense or half close hold nobody up, and there are only so many.
#[tokio::test]
async fn stations_that_misbehave_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "[slots]\nsize = 1\n[signal]\ntries = 60\n");
    let host = Arc::new(FakeHost::new("kiosk", Path::new("/overlays")));
    host.set_resources(vrouter::pool::hypervisor::Resources { memory: 0, disk: 0 });
    let door = Arc::new(FakeDoor::default());
    let pool = Running::start(&config, &host, door.clone());
    let port = pool.signal_port(8);
    let mut deaf = Vec::new();
    for number in 1..=8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(256).unwrap();
        socket.bind(SocketAddr::new(station(number), 0)).unwrap();
        let stream = socket.connect(port).await.unwrap();
        stream.try_write(&[b'x'; 4096]).unwrap();
        deaf.push(stream);
        let count = usize::from(number);
        pool.until("another waits", |status| status.stations.len() == count).await;
    }
    let mut ninth = TcpStream::connect(port).await.unwrap();
    let mut lines = String::new();
    timeout(PATIENCE, ninth.read_to_string(&mut lines)).await.unwrap().unwrap();
    assert!(lines.starts_with("BUSY"), "{lines}");
    // A station that half closes still listens, and one that is gone makes room.
    let last = deaf.pop().unwrap();
    let raw = last.into_std().unwrap();
    raw.shutdown(std::net::Shutdown::Write).unwrap();
    deaf.clear();
    pool.until("one is left", |status| status.stations.len() == 1).await;
    host.set_resources(vrouter::pool::hypervisor::Resources { memory: 1 << 40, disk: 1 << 40 });
    pool.until("served", |status| status.count(State::Reserved) == 1).await;
    assert!(door.connect(station(8)).is_some());
    pool.stop().await;
}
