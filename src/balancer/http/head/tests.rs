//! Heads that pass and heads that do not, whole and in pieces.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 100, target: 2048 };

/// What is made of octets that come in pieces of this length.
fn judge(octets: &[u8], piece: usize) -> Result<Option<(Parts, Framing, usize)>, Refusal> {
    let mut scan = Scan::default();
    let mut buffer = BytesMut::new();
    let mut parts = http::Request::new(()).into_parts().0;
    for octets in octets.chunks(piece) {
        buffer.extend_from_slice(octets);
        if let Some(length) = scan.end(&mut buffer, &LIMITS)? {
            let head = buffer.split_to(length).freeze();
            let framing = read(&head, &mut parts, &LIMITS)?;
            return Ok(Some((parts, framing, buffer.len())));
        }
    }
    Ok(None)
}

#[test]
fn hosts_are_names_or_addresses_with_or_without_a_port() {
    for good in ["demo", "demo.local:8080", "10.0.0.1", "[::1]", "[::1]:80", "a_b", "demo:", ""] {
        assert!(is_host(good.as_bytes()), "{good}");
    }
    for bad in
        ["a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[::1]x", "[g]", "a,b", "a#b", "a\\b", "a:123456"]
    {
        assert!(!is_host(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn what_follows_a_head_is_left_alone() {
    let (parts, framing, left) =
        judge(b"POST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabcGET", 1000).unwrap().unwrap();
    assert_eq!((parts.uri.path(), framing, left), ("/a", Framing::Length(3), 6));
}

#[test]
fn one_empty_line_may_come_first_in_whatever_pieces() {
    let request = "GET / HTTP/1.1\r\nHost: demo\r\n\r\n";
    for piece in [1, 2, 3, 1000] {
        let (one, two) = (format!("\r\n{request}"), format!("\r\n\r\n{request}"));
        let (parts, _, left) = judge(one.as_bytes(), piece).unwrap().unwrap();
        assert_eq!((parts.uri.path(), left), ("/", 0), "in pieces of {piece}");
        let refused = judge(two.as_bytes(), piece).map(|_| ()).unwrap_err();
        assert_eq!(refused, Refusal::Malformed("there is no request line"), "in pieces of {piece}");
    }
}

#[test]
fn a_request_line_is_too_long_in_whatever_pieces() {
    let line = |method: usize| {
        let (method, target) = ("M".repeat(method), "t".repeat(LIMITS.target - 1));
        format!("{method} /{target} HTTP/1.1\r\nHost: demo\r\n\r\n")
    };
    for piece in [1, 7, 10_000] {
        assert!(judge(line(20).as_bytes(), piece).unwrap().is_some(), "in pieces of {piece}");
        let refused = judge(line(40).as_bytes(), piece).map(|_| ()).unwrap_err();
        assert_eq!(refused, Refusal::TargetTooLong, "in pieces of {piece}");
    }
}

proptest! {
    /// Whatever comes: nobody crashes, and it does not matter in which pieces it comes.
    #[test]
    fn pieces_change_nothing(octets in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
        let (whole, pieces) = (judge(&octets, 1000), judge(&octets, piece));
        prop_assert_eq!(whole.map(|read| read.is_some()).ok(), pieces.map(|read| read.is_some()).ok());
    }

    /// A request that was spoilt in one octet is refused, incomplete, or still one request of the same framing or of
    /// a framing that its own fields say.
    #[test]
    fn a_spoilt_octet_never_hides_a_request(at in 0_usize..79, octet: u8) {
        let mut head = b"POST /path?query HTTP/1.1\r\nHost: demo.local\r\nContent-Length: 12\r\nX-Other: any\r\n\r\n".to_vec();
        let length = head.len();
        head[at.min(length - 1)] = octet;
        if let Ok(Some((parts, framing, left))) = judge(&head, 1000) {
            prop_assert_eq!(left, 0);
            let said = content_length(&parts.headers).unwrap();
            prop_assert_eq!(framing, said.filter(|said| *said > 0).map_or(Framing::Empty, Framing::Length));
            prop_assert_eq!(parts.headers.get_all(HOST).iter().count(), 1);
        }
    }

    /// Heads that are made of what heads are made of: whatever passes has one meaning.
    #[test]
    fn what_passes_has_one_framing(fields in prop::collection::vec(prop::sample::select(vec![
        "Content-Length: 5", "Content-Length: 6", "content-length:5", "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip", "transfer-encoding: chunked, chunked", "Transfer-Encoding : chunked",
        "Transfer-Encoding:\tchunked", "X: a", " X: folded", "Connection: content-length", "Host: demo", "",
    ]), 0..6), end in prop::sample::select(vec!["\r\n", "\n", "\r"])) {
        let mut text = String::from("POST / HTTP/1.1\r\nHost: demo\r\n");
        for field in &fields {
            text += field;
            text += end;
        }
        text += "\r\n";
        if let Ok(Some((parts, framing, _))) = judge(text.as_bytes(), 1000) {
            let lengths = parts.headers.get_all(CONTENT_LENGTH).iter().count();
            let codings = parts.headers.get_all(TRANSFER_ENCODING).iter().count();
            prop_assert!(lengths + codings <= 1, "{text:?}");
            prop_assert_eq!(framing == Framing::Chunked, codings == 1);
            prop_assert!(end == "\r\n" || fields.is_empty(), "{text:?}");
        }
    }
}
