//! Heads of requests: pieces change nothing, what is accepted has one meaning to a second reader who knows nothing of the
//! first, and what is written of it for a backend reads as the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vrouter::fuzzing::http::{Framed, Head, body, head, written};

mod pieces;

/// Limits so near that they are met.
const MOST: usize = 1024;
const FIELDS: usize = 12;
const TARGET: usize = 200;

fuzz_target!(|data: &[u8]| {
    let Some((octets, cuts)) = pieces::split(data) else { return };
    let whole = head(&[octets], MOST, FIELDS, TARGET);
    let pieces = head(&pieces::cut(octets, cuts), MOST, FIELDS, TARGET);
    match (&whole, &pieces) {
        (Ok(Some(whole)), Ok(Some(pieces))) => {
            assert_eq!(whole.octets, pieces.octets);
            assert_eq!((whole.framed, whole.left), (pieces.framed, pieces.left));
            same(whole, pieces);
        }
        (Ok(None), Ok(None)) => {}
        // Several faults in one message may show in another order, as more of it is there.
        (Err(_), Err(_)) => {}
        _ => panic!("in one: {whole:?}, in pieces: {pieces:?}"),
    }
    if let Ok(Some(whole)) = whole {
        second_reader(&whole);
        backend(&whole);
    }
});

/// Whether both say the same, fields in their order.
fn same(one: &Head, other: &Head) {
    assert_eq!((&one.parts.method, &one.parts.uri), (&other.parts.method, &other.parts.uri));
    assert_eq!(one.parts.headers, other.parts.headers);
}

/// Reads an accepted head as plainly as can be, and finds no other meaning in it.
fn second_reader(head: &Head) {
    let text = &head.octets[..];
    assert!(text.len() <= MOST && text.ends_with(b"\r\n\r\n"));
    let lines: Vec<&[u8]> = text[..text.len() - 4].split(|octet| *octet == b'\n').collect();
    let last = lines.len() - 1;
    let lines: Vec<&[u8]> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| if at < last { line.strip_suffix(b"\r").expect("a bare LF") } else { line })
        .collect();
    for octet in lines.iter().flat_map(|line| line.iter()) {
        assert!(*octet == b'\t' || *octet >= 0x20 && *octet != 0x7f, "a control octet: {octet:#x}");
    }
    let words: Vec<&[u8]> = lines[0].split(|octet| *octet == b' ').collect();
    let [method, target, version] = words[..] else { panic!("a request line of {} words", words.len()) };
    assert_eq!(head.parts.method.as_str().as_bytes(), method);
    assert!(matches!(version, b"HTTP/1.1" | b"HTTP/1.0"));
    assert!(!target.is_empty() && target.len() <= TARGET && target.iter().all(u8::is_ascii_graphic));
    let mut said = (Vec::new(), Vec::new(), Vec::new());
    for line in &lines[1..] {
        let colon = line.iter().position(|octet| *octet == b':').expect("a field without a colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
        assert!(!name.is_empty() && name.iter().all(token), "the name of a field is none");
        match name.to_ascii_lowercase().as_slice() {
            b"host" => said.0.push(value),
            b"content-length" => said.1.push(value),
            b"transfer-encoding" => said.2.push(value),
            _ => {}
        }
        let name = http::HeaderName::from_bytes(name).unwrap();
        let absolute = name == "host" && !target.starts_with(b"/");
        assert!(absolute || head.parts.headers.get_all(name).iter().any(|found| found.as_bytes() == value));
    }
    assert!(lines.len() - 1 <= FIELDS && said.0.len() <= 1 && said.1.len() + said.2.len() <= 1);
    assert!(head.parts.headers.get_all("host").iter().count() == 1 || version == b"HTTP/1.0");
    let framed = match (&said.1[..], &said.2[..]) {
        ([length], _) => match std::str::from_utf8(length).unwrap().parse().unwrap() {
            0 => Framed::Empty,
            length => Framed::Length(length),
        },
        (_, [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            Framed::Chunked
        }
        _ => Framed::Empty,
    };
    assert_eq!(head.framed, framed);
}

/// What a backend gets is the same request, and nothing before or behind it.
fn backend(request: &Head) {
    if request.parts.version == http::Version::HTTP_10 && !request.parts.headers.contains_key("host") {
        return;
    }
    let sent: &[&[u8]] = match request.framed {
        Framed::Chunked => &[b"first", b"0\r\n\r\n"],
        Framed::Length(_) | Framed::Empty => &[],
    };
    let octets = written(request, sent, &http::HeaderMap::new());
    // It may take more room when it is written anew: there is a blank behind each colon, and Host where there was none.
    let again = head(&[&octets], 2 * MOST, FIELDS + 1, 2 * TARGET).expect("refused").expect("incomplete");
    assert_eq!((&again.parts.method, &again.parts.uri), (&request.parts.method, &request.parts.uri));
    assert_eq!(again.framed, request.framed);
    for (name, value) in &request.parts.headers {
        let framing = name == "content-length" || name == "transfer-encoding";
        assert!(framing || again.parts.headers.get_all(name).iter().any(|found| found == value));
    }
    let behind = &octets[octets.len() - again.left..];
    if let Framed::Length(_) = again.framed {
        assert!(behind.is_empty());
        return;
    }
    let end = body(&[behind], again.framed);
    assert_eq!((end.data.as_slice(), end.end.map(|(_, left)| left)), (sent.concat().as_slice(), Some(0)));
}
