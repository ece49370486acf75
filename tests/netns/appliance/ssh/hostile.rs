//! Operators whose clients are no good: floods, channels that nobody reads, and going away in the middle. Whatever they do, their
//! places are free again, the router's memory stays what it is, and it ends when it is told to.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use tokio::net::TcpStream;

use super::client::{Desk, ROUTER, house, lab_and_router, operators};
use crate::appliance::router::Router;
use crate::lab::{Lab, until};

/// A client that believes any host.
struct Believer;

impl client::Handler for Believer {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// A connection on which Alice has come in.
async fn alice(desk: &Desk, window: u32) -> Handle<Believer> {
    let config = client::Config { window_size: window, ..client::Config::default() };
    let stream = TcpStream::connect((ROUTER, 22)).await.unwrap();
    let mut handle = client::connect_stream(Arc::new(config), stream, Believer).await.unwrap();
    let key = PrivateKey::from_openssh(fs::read(desk.path("alice")).unwrap()).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(handle.authenticate_publickey("anybody", key).await.unwrap().success());
    handle
}

/// Does this at the management network.
fn at_management<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> T + Send) -> T {
    lab.inside("admin", || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1);
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(work())
    })
}

/// How many commands came over SSH.
fn commands(router: &Router) -> usize {
    router.log().matches("a command came over SSH").count()
}

/// What the server ends a connection with, or that it does not.
async fn ends(handle: &Handle<Believer>) -> bool {
    let begin = Instant::now();
    while !handle.is_closed() && begin.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    handle.is_closed()
}

/// A channel on which data come before anything was asked for.
async fn flood(channel: &Channel<Msg>, times: usize) {
    for _ in 0..times {
        if channel.data_bytes(vec![b'x'; 100]).await.is_err() {
            return;
        }
    }
}

#[test]
fn a_channel_on_which_nothing_runs_holds_nobody_up() {
    let (house, desk) = house();
    at_management(&house.lab, async || {
        let handle = alice(&desk, 1 << 20).await;
        let channel = handle.channel_open_session().await.unwrap();
        flood(&channel, 500).await;
        // The connection is not stuck: another channel is answered on it.
        let mut other = handle.channel_open_session().await.unwrap();
        other.exec(true, "config").await.unwrap();
        let mut code = None;
        while let Some(message) = other.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                code = Some(exit_status);
            }
        }
        assert_eq!(code, Some(0));
        // Requests before a command are bounded, too.
        let channel = handle.channel_open_session().await.unwrap();
        for number in 0..200 {
            if channel.set_env(false, format!("V{number}"), "x").await.is_err() {
                break;
            }
        }
        assert!(ends(&handle).await, "who asks for what there is not is sent away");
    });
    until("his place is free", || (operators(&house.router) == Some(0)).then_some(()));
}

#[test]
fn ways_through_are_refused_and_who_insists_is_sent_away() {
    let (house, desk) = house();
    at_management(&house.lab, async || {
        let handle = alice(&desk, 1 << 20).await;
        let mut refused = 0;
        for _ in 0..200 {
            match handle.channel_open_direct_tcpip("127.0.0.1", 7270, "127.0.0.1", 1).await {
                Ok(_) => panic!("there is a way through"),
                Err(_) if handle.is_closed() => break,
                Err(_) => refused += 1,
            }
        }
        assert!((1..=64).contains(&refused), "{refused}");
    });
}

/// A client that takes nothing of what it is told, and goes.
#[test]
fn who_takes_nothing_and_goes_leaves_nothing() {
    let (lab, mut router, desk) = lab_and_router();
    let sockets = || fs::read_dir(format!("/proc/{}/fd", router.pid())).unwrap().count();
    let before = sockets();
    for round in 0..20 {
        until("there is a place", || (operators(&router) < Some(4)).then_some(()));
        at_management(&lab, async || {
            let handle = alice(&desk, 0).await;
            let channel = handle.channel_open_session().await.unwrap();
            if round % 2 == 0 {
                channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
                channel.request_shell(false).await.unwrap();
                flood(&channel, 100).await;
                until("he is there", || (operators(&router) >= Some(1)).then_some(()));
            } else {
                channel.exec(false, "status --watch").await.unwrap();
            }
            // The greeting, or the command, waits for a window that never opens; behind it, the connection does.
            if round % 2 == 1 {
                until("it runs", || (commands(&router) > round / 2).then_some(()));
            }
        });
    }
    until("nobody is there", || (operators(&router) == Some(0)).then_some(()));
    until("and nothing of them", || (sockets() <= before).then_some(()));
    assert!(router.terminate().success());
}

/// A key that brings a long line back is small, and what it shows is not.
#[test]
fn what_a_key_shows_is_bounded_where_nobody_looks() {
    let (house, desk) = house();
    let line = |letter: u8| [vec![letter; 4000], b"\r".to_vec()].concat();
    let arrows: Vec<u8> = b"\x1b[A\x1b[B".repeat(5000);
    let before = house.router.memory("VmRSS");
    at_management(&house.lab, async || {
        let handle = alice(&desk, 64 << 10).await;
        let mut channel = handle.channel_open_session().await.unwrap();
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.request_shell(true).await.unwrap();
        let keys = [line(b'x'), line(b'y'), arrows].concat();
        for piece in keys.chunks(30_000) {
            channel.data_bytes(piece.to_vec()).await.unwrap();
        }
        // A megabyte of what it shows is taken, and the rest is not.
        let mut shown = 0;
        while shown < 1 << 20 {
            if let ChannelMsg::Data { data } = channel.wait().await.unwrap() {
                shown += data.len();
            }
        }
    });
    let grown = house.router.memory("VmHWM").saturating_sub(before);
    assert!(grown < 24 << 10, "it took {grown} KiB");
    until("he is gone", || (operators(&house.router) == Some(0)).then_some(()));
}
