//! What RFC 9110 and RFC 9112 ask of an intermediary, case by case.

use serde_json::json;

use super::backend::{Backend, Seen};
use super::house::{Answer, Client, House};

/// What a client sends, and what has to become of it.
struct Case {
    /// The section that asks for it, and what it asks.
    name: &'static str,
    sent: &'static str,
    /// What the backend has to have got, and the client.
    holds: fn(&Seen, &Answer) -> bool,
    /// Whether the client's connection serves another request.
    goes_on: bool,
}

/// A case whose request is complete.
const fn case(name: &'static str, sent: &'static str, holds: fn(&Seen, &Answer) -> bool) -> Case {
    Case { name, sent, holds, goes_on: true }
}

/// The same, after which the connection has to be closed.
const fn last(name: &'static str, sent: &'static str, holds: fn(&Seen, &Answer) -> bool) -> Case {
    Case { name, sent, holds, goes_on: false }
}

const CASES: &[Case] = &[
    case("9112 3: a plain request passes", "GET /a?b=c HTTP/1.1\r\nHost: demo\r\n\r\n", |seen, answer| {
        seen.line() == "GET /a?b=c HTTP/1.1" && seen.fields("host") == ["demo"] && answer.text() == "0 octets"
    }),
    case(
        "9112 2.2: an empty line before a request is ignored",
        "\r\nGET / HTTP/1.1\r\nHost: demo\r\n\r\n",
        |seen, _| seen.line() == "GET / HTTP/1.1",
    ),
    case(
        "9112 3.2.2: absolute-form becomes origin-form, Host its authority",
        "GET http://Demo:80/a?b HTTP/1.1\r\nHost: demo:80\r\n\r\n",
        |seen, _| seen.line() == "GET /a?b HTTP/1.1" && seen.fields("host") == ["Demo:80"],
    ),
    case("9112 3.2.4: OPTIONS * passes", "OPTIONS * HTTP/1.1\r\nHost: demo\r\n\r\n", |seen, _| {
        seen.line() == "OPTIONS * HTTP/1.1"
    }),
    case(
        "9110 7.6.2: who explores the way goes one hop less far",
        "OPTIONS /a HTTP/1.1\r\nHost: demo\r\nMax-Forwards: 10\r\n\r\n",
        |seen, _| seen.fields("max-forwards") == ["9"],
    ),
    case(
        "9110 7.6.2: and no hop further than it may: OPTIONS",
        "OPTIONS /a HTTP/1.1\r\nHost: demo\r\nMax-Forwards: 0\r\n\r\n",
        |seen, answer| seen.head.is_empty() && answer.status == 204,
    ),
    case(
        "9110 7.6.2: TRACE",
        "TRACE /a HTTP/1.1\r\nHost: demo\r\nMax-Forwards: 0\r\n\r\n",
        |seen, answer| seen.head.is_empty() && answer.status == 501,
    ),
    case(
        "9110 7.6.2: of other methods the number says nothing",
        "GET / HTTP/1.1\r\nHost: demo\r\nMax-Forwards: 0\r\n\r\n",
        |seen, _| seen.fields("max-forwards") == ["0"],
    ),
    case(
        "9110 9: a method that nobody knows passes",
        "BREW /pot HTTP/1.1\r\nHost: demo\r\n\r\n",
        |seen, _| seen.line() == "BREW /pot HTTP/1.1",
    ),
    case(
        "9110 5.1: fields that nobody knows pass",
        "GET / HTTP/1.1\r\nHost: demo\r\nX-Odd: a, b\r\nx-odd: c\r\n\r\n",
        |seen, _| seen.fields("x-odd") == ["a, b", "c"],
    ),
    case(
        "9110 5.5: blanks around a value are not part of it",
        "GET / HTTP/1.1\r\nHost:demo\r\nX-Blank: \t a b \t\r\n\r\n",
        |seen, _| seen.fields("x-blank") == ["a b"] && seen.fields("host") == ["demo"],
    ),
    case(
        "9110 5.5: octets above ASCII pass",
        "GET / HTTP/1.1\r\nHost: demo\r\nX-Name: J\u{f6}rg\r\n\r\n",
        |seen, _| seen.fields("x-name") == ["J\u{f6}rg"],
    ),
    case(
        "9110 7.6.1: what Connection names goes no further",
        "GET / HTTP/1.1\r\nHost: demo\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Connection: close\r\nX-End: 2\r\n\r\n",
        |seen, _| {
            ["x-hop", "keep-alive", "proxy-connection", "connection"]
                .iter()
                .all(|name| seen.fields(name).is_empty())
                && seen.fields("x-end") == ["2"]
        },
    ),
    case(
        "9110 7.6.1: Connection cannot name what frames or routes",
        "POST / HTTP/1.1\r\nHost: demo\r\nConnection: host, content-length\r\nContent-Length: 3\r\n\r\nabc",
        |seen, _| {
            seen.fields("host") == ["demo"] && seen.fields("content-length") == ["3"] && seen.body == b"abc"
        },
    ),
    case("9110 7.6.1: the same for answers", "GET /hops HTTP/1.1\r\nHost: demo\r\n\r\n", |_, answer| {
        answer.field("x-hop").is_empty()
            && answer.field("keep-alive").is_empty()
            && answer.field("x-end") == "2"
    }),
    case(
        "9110 10.1.4: TE: trailers is said anew",
        "GET / HTTP/1.1\r\nHost: demo\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n",
        |seen, _| seen.fields("te") == ["trailers"] && seen.fields("connection") == ["te"],
    ),
    case(
        "9110 7.8: an upgrade that Connection does not name is none",
        "GET / HTTP/1.1\r\nHost: demo\r\nUpgrade: websocket\r\n\r\n",
        |seen, _| seen.fields("upgrade").is_empty(),
    ),
    case(
        "9113 3.1: nobody gets to HTTP/2 behind our back",
        "GET / HTTP/1.1\r\nHost: demo\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        |seen, _| seen.fields("upgrade").is_empty() && seen.fields("http2-settings").is_empty(),
    ),
    case(
        "9110 7.8: an upgrade that the backend refuses is a request",
        "GET /refused-socket HTTP/1.1\r\nHost: demo\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        |seen, answer| seen.fields("upgrade") == ["echo"] && answer.text() == "no",
    ),
    case(
        "9112 6.2: a body with a length",
        "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\n\r\nhello",
        |seen, answer| {
            seen.fields("content-length") == ["5"] && seen.body == b"hello" && answer.text() == "5 octets"
        },
    ),
    case(
        "9112 7.1: a body in chunks, its extensions and cases left here",
        "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: Chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n",
        |seen, _| {
            seen.fields("transfer-encoding") == ["chunked"]
                && seen.fields("content-length").is_empty()
                && seen.body == b"a\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n"
        },
    ),
    case(
        "9112 7.1.2: trailers pass, but for those that may not be there",
        "POST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: other\r\n\r\n",
        |seen, _| seen.body.ends_with(b"0\r\nx-sum: 1\r\n\r\n"),
    ),
    case(
        "9110 8.6: POST without a body says so",
        "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 0\r\n\r\n",
        |seen, _| seen.fields("content-length") == ["0"],
    ),
    case(
        "9112 7.1: an answer in chunks, with its trailers",
        "GET /chunked HTTP/1.1\r\nHost: demo\r\nTE: trailers\r\n\r\n",
        |_, answer| {
            answer.text() == "hello world"
                && answer.trailers == [("x-sum".to_owned(), "11".to_owned())]
                && answer.field("trailer") == "x-sum"
        },
    ),
    case(
        "9112 6.3: an answer until the end goes on in chunks",
        "GET /until-close HTTP/1.1\r\nHost: demo\r\n\r\n",
        |_, answer| answer.text() == "hello until the end" && answer.field("transfer-encoding") == "chunked",
    ),
    case(
        "9112 6.3: an answer of HTTP/1.0 is one of HTTP/1.1 here",
        "GET /old HTTP/1.1\r\nHost: demo\r\n\r\n",
        |_, answer| answer.text() == "old" && answer.field("connection").is_empty(),
    ),
    case("9112 6.3: 204 has no body", "GET /empty HTTP/1.1\r\nHost: demo\r\n\r\n", |_, answer| {
        answer.status == 204
            && answer.field("content-length").is_empty()
            && answer.field("transfer-encoding").is_empty()
    }),
    case(
        "9112 6.3: 304 has no body, whatever it says",
        "GET /unmodified HTTP/1.1\r\nHost: demo\r\n\r\n",
        |_, answer| answer.status == 304 && answer.field("etag") == "\"1\"",
    ),
    case(
        "9112 6.1: a request in chunks may not be HTTP/1.0, one with a length may",
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab",
        |seen, answer| seen.body == b"ab" && answer.field("connection") == "keep-alive",
    ),
    last("9112 9.3: HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n", |seen, answer| {
        seen.line() == "GET / HTTP/1.1" && answer.field("connection") == "close"
    }),
    last("9112 7.1: HTTP/1.0 gets no chunks", "GET /chunked HTTP/1.0\r\nHost: demo\r\n\r\n", |_, answer| {
        answer.text() == "hello world" && answer.field("transfer-encoding").is_empty()
    }),
    last(
        "9112 9.6: Connection: close closes",
        "GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
        |seen, answer| seen.fields("connection").is_empty() && answer.field("connection") == "close",
    ),
    case("9110 15.2: interim answers pass", "GET /hints HTTP/1.1\r\nHost: demo\r\n\r\n", |_, answer| {
        answer.status == 103 && answer.field("link") == "</style.css>"
    }),
    last(
        "9112 6.1: an answer that is framed twice is none",
        "GET /both HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
        |_, answer| answer.status == 502,
    ),
    last(
        "9112 6.3: an answer of two lengths is none",
        "GET /two-lengths HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
        |_, answer| answer.status == 502,
    ),
    last(
        "an answer that is none is 502",
        "GET /garbage HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
        |_, answer| answer.status == 502,
    ),
    last(
        "9110 15.2.2: a switch that nobody asked for is none",
        "GET /unasked-switch HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
        |_, answer| answer.status == 502,
    ),
];

#[test]
fn requests_and_answers_pass_as_the_standards_ask() {
    House::one(json!({"x_forwarded": false}), |house, backend| {
        for Case { name, sent, holds, goes_on } in CASES {
            let mut client = house.client();
            let answer = client.send(sent).answer();
            let seen = backend.seen().pop().unwrap_or_default();
            assert!(holds(&seen, &answer), "{name}:\n{seen:?}\n{answer:?}");
            if !goes_on {
                client.is_closed();
                continue;
            }
            if answer.status == 103 {
                assert_eq!(client.answer().status, 200, "{name}");
            }
            let answer = client.send("GET /again HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
            assert_eq!(answer.status, 200, "{name}: the connection went on");
            backend.seen();
        }
    });
}

#[test]
fn head_has_the_fields_of_an_answer_and_no_body() {
    House::one(json!({}), |house, _| {
        let mut client = house.client();
        let answer = client.send("HEAD / HTTP/1.1\r\nHost: demo\r\n\r\n").answer_to("HEAD").unwrap();
        assert_eq!((answer.status, answer.field("content-length")), (200, "1000"));
        let answer = client.send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
        assert_eq!(answer.text(), "0 octets");
    });
}

#[test]
fn requests_that_are_sent_ahead_are_answered_in_order() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        let ahead: String = (0..20)
            .map(|n| {
                format!("POST /{n} HTTP/1.1\r\nHost: demo\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n))
            })
            .collect();
        client.send(ahead);
        for n in 0..20 {
            assert_eq!(client.answer().text(), format!("{n} octets"));
        }
        let lines: Vec<_> = backend.seen().iter().map(|seen| seen.line().to_owned()).collect();
        assert_eq!(lines, (0..20).map(|n| format!("POST /{n} HTTP/1.1")).collect::<Vec<_>>());
        assert_eq!(backend.connections(), 1, "one connection was kept for all");
    });
}

#[test]
fn a_head_that_comes_octet_by_octet_is_a_head() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        for octet in b"\r\nPOST / HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n" {
            client.send([*octet]);
        }
        assert_eq!(client.answer().status, 200);
        assert_eq!(backend.seen().pop().unwrap().body.last_chunk::<11>(), Some(b"0\r\nx: 1\r\n\r\n"));
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it_from_the_backend() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        let head =
            "POST /continue HTTP/1.1\r\nHost: demo\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(client.send(head).answer().status, 100);
        assert_eq!(client.send("hello").answer().text(), "5 octets");
        assert_eq!(backend.seen().pop().unwrap().fields("expect"), ["100-continue"]);
        let answer = client.send(head.replace("100-continue", "a-miracle")).answer();
        assert_eq!(answer.status, 417);
    });
}

#[test]
fn a_backend_may_answer_before_it_has_the_request() {
    House::one(json!({}), |house, _| {
        let mut client = house.client();
        client.send("POST /early HTTP/1.1\r\nHost: demo\r\nContent-Length: 100000000\r\n\r\nsome");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.field("connection")),
            (413, "early", "close")
        );
        client.is_closed();
    });
}

#[test]
fn a_connection_that_is_upgraded_carries_anything_both_ways() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        client.send("GET /socket HTTP/1.1\r\nHost: demo\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\nSec-Key: 1\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.field("upgrade"), answer.field("connection")),
            (101, "echo", "upgrade")
        );
        assert_eq!(client.exactly(7).unwrap(), b"welcome");
        let octets: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert_eq!(client.send(&octets).exactly(octets.len()).unwrap(), octets);
        assert_eq!(backend.seen().pop().unwrap().fields("sec-key"), ["1"]);
        client.finish().is_closed();
    });
}

#[test]
fn bodies_of_any_size_stream_through() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        let answer = client.send("GET /big HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
        assert_eq!(answer.body.len(), 20_000_000);
        let body = vec![b'y'; 5_000_000];
        client
            .send(format!("PUT / HTTP/1.1\r\nHost: demo\r\nContent-Length: {}\r\n\r\n", body.len()))
            .send(&body);
        assert_eq!(client.answer().text(), "5000000 octets");
        assert!(backend.seen().pop().unwrap().body == body);
    });
}

#[test]
fn an_answer_that_ends_early_is_never_taken_for_a_whole_one() {
    House::one(json!({}), |house, _| {
        for path in ["/cut", "/cut-chunk"] {
            let mut client = house.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n"));
            assert!(client.answer_to("GET").is_none(), "{path}");
        }
    });
}

#[test]
fn what_a_backend_sends_beyond_its_answer_reaches_nobody() {
    House::one(json!({}), |house, backend| {
        let mut client = house.client();
        for _ in 0..3 {
            let answer = client.send("GET /extra HTTP/1.1\r\nHost: demo\r\n\r\n").answer();
            assert_eq!(answer.text(), "ok");
        }
        assert_eq!(backend.connections(), 3, "a connection with something left in it is not used again");
    });
}

#[test]
fn requests_are_repeated_only_where_that_is_safe() {
    House::run(|house| {
        let (good, dead) = (Backend::start(super::house::GUEST), Backend::start(super::house::GUEST));
        house.serve(super::house::http(&[&good, &dead], json!({}))).unwrap();
        dead.stop();
        // Nothing was sent to a backend that nobody reaches: anything may go to another.
        for _ in 0..10 {
            let mut client = house.client();
            let sent = "POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 2\r\n\r\nab";
            assert_eq!(client.send(sent).answer().text(), "2 octets");
        }
        // What a backend may have done is not done again.
        good.seen();
        house.serve(super::house::http(&[&good], json!({}))).unwrap();
        let ask = |request: &str| Client::connect(80).send(request).answer().status;
        assert_eq!(ask("POST /die HTTP/1.1\r\nHost: demo\r\nContent-Length: 0\r\n\r\n"), 502);
        assert_eq!(good.seen().len(), 1);
        assert_eq!(ask("GET /die HTTP/1.1\r\nHost: demo\r\n\r\n"), 502);
        assert!(good.seen().len() > 1, "GET is tried again");
    });
}
