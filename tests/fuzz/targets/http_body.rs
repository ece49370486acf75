//! Bodies in their framing: pieces change nothing, there is never more than was sent, and what comes out is what a
//! second reader finds, and reads the same when it is framed anew.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vrouter::fuzzing::http::{Body, Framed, body, head, written};

mod pieces;

fuzz_target!(|data: &[u8]| {
    let Some((octets, cuts)) = pieces::split(data) else { return };
    let Some((kind, octets)) = octets.split_first() else { return };
    let framed = match kind {
        0 => Framed::Empty,
        1..=32 => Framed::Length(u64::from(*kind) - 1),
        _ => Framed::Chunked,
    };
    let whole = body(&[octets], framed);
    assert_eq!(whole, body(&pieces::cut(octets, cuts), framed));
    let left = whole.end.as_ref().map_or(0, |(_, left)| *left);
    assert!(whole.data.len() + left <= octets.len());
    match framed {
        Framed::Empty => assert!(whole.data.is_empty() && left == octets.len()),
        Framed::Length(length) => {
            assert!(!whole.broken && whole.data == octets[..whole.data.len()]);
            assert_eq!(whole.end.is_some(), whole.data.len() as u64 == length);
        }
        Framed::Chunked => {
            // Trailers that are just short enough may be too long when they are written anew.
            if whole.end.is_some() && octets.len() < 8000 {
                assert_eq!(
                    Some((&whole.data[..], left)),
                    second_reader(octets).as_ref().map(|(data, left)| (&data[..], *left))
                );
                anew(&whole);
            }
        }
    }
});

/// Chunks, read as plainly as can be by somebody who takes everything for well formed.
fn second_reader(octets: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |rest: &[u8]| rest.windows(2).position(|pair| pair == b"\r\n");
    let (mut data, mut rest) = (Vec::new(), octets);
    loop {
        let end = line(rest)?;
        let size = rest[..end].split(|octet| *octet == b';').next()?.trim_ascii();
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(rest.get(..size)?);
        assert_eq!(rest.get(size..size + 2)?, b"\r\n");
        rest = &rest[size + 2..];
    }
    loop {
        let end = line(rest)?;
        rest = &rest[end + 2..];
        if end == 0 {
            return Some((data, rest.len()));
        }
    }
}

/// A body that is framed anew is the same, and its trailers are.
fn anew(whole: &Body) {
    let post = b"POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n";
    let post = head(&[post], 1024, 8, 64).unwrap().unwrap();
    let trailers = whole.end.as_ref().map(|(trailers, _)| trailers.clone()).unwrap_or_default();
    for name in ["content-length", "transfer-encoding", "host", "connection", "cookie", "authorization"] {
        assert!(!trailers.contains_key(name));
    }
    let sent = written(&post, &[&whole.data], &trailers);
    let again = head(&[&sent], 1024, 8, 64).unwrap().unwrap();
    let again = body(&[&sent[sent.len() - again.left..]], Framed::Chunked);
    assert_eq!((&again.data, again.broken, again.end), (&whole.data, false, Some((trailers, 0))));
}
