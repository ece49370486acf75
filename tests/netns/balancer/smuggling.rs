//! Requests that two readers could read differently: every one of them is refused, and nothing after it is read.

use serde_json::json;

use super::house::House;

/// What a client sends, up to where a request would follow that must never be seen; and the status that refuses it.
const CORPUS: &[(&str, u16)] = &[
    // Two framings (RFC 9112 section 6.1, 6.3).
    (
        "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    // Hosts that rules could not read and a backend might.
    ("GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo..\r\n\r\n", 400),
    // Several lengths, or none that is a number (RFC 9110 section 8.6).
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: -1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: \r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 18446744073709551617\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5;\r\n\r\nhello", 400),
    // Codings that do not end in chunked, or hide it (RFC 9112 section 6.1).
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    // Names that are none (RFC 9112 section 5.1).
    ("GET / HTTP/1.1\r\nHost: demo\r\nContent-Length : 5\r\n\r\nhello", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nContent-Length\t: 5\r\n\r\nhello", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\n: 5\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nno colon here\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nContent\u{0}Length: 5\r\n\r\nhello", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nX(Y): 5\r\n\r\n", 400),
    // Lines that go on (RFC 9112 section 5.2).
    ("GET / HTTP/1.1\r\nHost: demo\r\nX: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: demo\r\n\r\n", 400),
    // Ends of lines that are none (RFC 9112 section 2.2).
    ("GET / HTTP/1.1\nHost: demo\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\nX: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nX: a\rContent-Length: 5\r\n\r\nhello", 400),
    ("GET / HTTP/1.1\rHost: demo\r\n\r\n", 400),
    // Octets that no field and no target has.
    ("GET / HTTP/1.1\r\nHost: demo\r\nX: a\u{0}b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nX: a\u{7}b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nX: a\u{7f}b\r\n\r\n", 400),
    ("GET /a\u{0}b HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET /a\tb HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET /\u{e4} HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET /a#b HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    // Request lines that are none (RFC 9112 section 3).
    ("GET  / HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: demo\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: demo\r\n\r\n", 505),
    ("GET / HTTP/2.0\r\nHost: demo\r\n\r\n", 505),
    ("GET / http/1.1\r\nHost: demo\r\n\r\n", 505),
    ("GET /\r\nHost: demo\r\n\r\n", 400),
    ("G(T / HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET demo HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET ftp://demo/ HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("CONNECT demo:80 HTTP/1.1\r\nHost: demo:80\r\n\r\n", 405),
    ("\r\n\r\n\r\n", 400),
    // Hosts that are none, or not one (RFC 9112 section 3.2).
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nHost: other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo\r\nHost: demo\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo, other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo/other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@demo\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: demo:80:80\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("GET http://other/ HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
    ("GET http://user@demo/ HTTP/1.1\r\nHost: demo\r\n\r\n", 400),
];

/// Bodies in chunks that are none (RFC 9112 section 7.1). The head is fine, so a backend may have seen it.
const CHUNKS: &[&str] = &[
    "\r\n",
    "x\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-1\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\rhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;\u{0}\r\nhello\r\n0\r\n\r\n",
    "10000000000000000\r\n",
    "fffffffffffffffff\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\nX: a\n\r\n",
    "0\r\n X: a\r\n\r\n",
    "0\r\nX : a\r\n\r\n",
    "0\r\n\n",
    "0\r\nX: a\u{0}\r\n\r\n",
];

/// What must never be taken for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: demo\r\n\r\n";

#[test]
fn whatever_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    House::one(json!({}), |house, backend| {
        for (sent, status) in CORPUS {
            let mut client = house.client();
            let answer = client.send(sent).send(HIDDEN).answer_to("GET");
            let answer = answer.unwrap_or_else(|| panic!("no answer to {sent:?}"));
            assert_eq!(answer.status, *status, "{sent:?}");
            assert_eq!(answer.field("connection"), "close", "{sent:?}");
            client.is_closed();
            let seen = backend.seen();
            assert!(seen.is_empty(), "{sent:?} reached the backend: {seen:?}");
        }
    });
}

#[test]
fn a_body_that_is_framed_wrongly_ends_its_connections() {
    House::one(json!({}), |house, backend| {
        for chunks in CHUNKS {
            let mut client = house.client();
            let head = "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = client.send(head).send(chunks).send(HIDDEN).answer_to("POST");
            let answer = answer.unwrap_or_else(|| panic!("no answer to {chunks:?}"));
            assert_eq!((answer.status, answer.field("connection")), (400, "close"), "{chunks:?}");
            client.is_closed();
            let seen = backend.seen();
            assert!(seen.is_empty(), "{chunks:?} reached the backend as a whole: {seen:?}");
        }
        // The backend's connections were not used for anybody else after it.
        let answer = house.client().send(HIDDEN).answer();
        assert_eq!(answer.text(), "0 octets");
    });
}
