//! What goes through a relayed connection: both ways, to either end, and as much as there is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::site::site;
use super::{Balancer, backend, client, echo, rest};
use crate::lab::PATIENCE;

#[test]
fn either_side_may_end_its_half() {
    let lab = site();
    lab.inside("router", || {
        backend("10.1.0.20:80", echo("hello "));
        let balancer = Balancer::new(json!({}));
        let _serving = balancer.serve();
        let mut stream = client();
        stream.write_all(b"and goodbye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream), "hello and goodbye");
        balancer.notes(&["all 10.1.0.20:80", "over: Closed"]);
        assert_eq!(balancer.inward.load(Ordering::SeqCst), 11);
        assert_eq!(balancer.outward.load(Ordering::SeqCst), 17);
    });
}

/// A gigabyte each way at once, through pipes, with ends that are slow now and then.
#[test]
fn a_gigabyte_each_way_arrives_as_it_was_sent() {
    const CHUNK: usize = 1 << 16;
    const CHUNKS: u64 = 1 << 14;
    fn chunk(number: u64) -> Vec<u8> {
        // Another one each time, at little cost: no chunk can stand for another.
        let mut chunk: Vec<u8> = vec![7; CHUNK];
        chunk[..8].copy_from_slice(&number.to_be_bytes());
        chunk[CHUNK - 8..].copy_from_slice(&number.to_le_bytes());
        chunk
    }
    fn both_ways(stream: TcpStream) {
        let mut out = stream.try_clone().unwrap();
        let writer = thread::spawn(move || {
            for number in 0..CHUNKS {
                out.write_all(&chunk(number)).unwrap();
            }
            out.shutdown(Shutdown::Write).unwrap();
        });
        let mut stream = stream;
        let mut heard = vec![0; CHUNK];
        for number in 0..CHUNKS {
            stream.read_exact(&mut heard).unwrap();
            assert!(heard == chunk(number), "chunk {number}");
            if number.is_multiple_of(4001) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        assert_eq!(stream.read(&mut heard).unwrap(), 0);
        writer.join().unwrap();
    }
    let lab = site();
    lab.inside("router", || {
        let (done, both) = mpsc::channel();
        backend("10.1.0.20:80", move |stream| {
            both_ways(stream);
            done.send(()).unwrap();
        });
        let balancer = Balancer::new(json!({}));
        let _serving = balancer.serve();
        let begin = Instant::now();
        both_ways(client());
        both.recv_timeout(PATIENCE).unwrap();
        eprintln!("a gigabyte each way in {:?} (debug build)", begin.elapsed());
        balancer.notes(&["all 10.1.0.20:80", "over: Closed"]);
        for way in [&balancer.inward, &balancer.outward] {
            assert_eq!(way.load(Ordering::SeqCst), CHUNKS * CHUNK as u64);
        }
    });
}
