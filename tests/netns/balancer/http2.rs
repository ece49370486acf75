//! HTTP/2 towards clients: by ALPN and with prior knowledge, and what a client of it may not do.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use serde_json::json;
use tokio::net::TcpStream;

use super::house::{House, VIP};
use crate::lab::until;

/// Runs a client that speaks HTTP/2 from its first octet.
fn client<T>(work: impl AsyncFnOnce(h2::client::SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect((VIP, 80)).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        work(send.ready().await.unwrap()).await
    })
}

fn request(method: Method, target: &str) -> http::request::Builder {
    Request::builder().version(Version::HTTP_2).method(method).uri(target)
}

fn request_of(target: &str) -> Request<()> {
    request(Method::GET, target).body(()).unwrap()
}

async fn body(mut body: h2::RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let _ = body.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    (all, body.trailers().await.unwrap())
}

#[test]
fn requests_of_one_connection_go_side_by_side() {
    House::one(json!({}), |house, backend| {
        client(async |mut send| {
            let mut answers = Vec::new();
            for n in 0..50 {
                let request = request(Method::GET, &format!("http://demo/{n}"))
                    .header("cookie", "a=1")
                    .header("cookie", "b=2");
                answers.push(send.send_request(request.body(()).unwrap(), true).unwrap().0);
            }
            for answer in answers {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), 200);
                assert_eq!(body(answer.into_body()).await.0, b"0 octets");
            }
        });
        let seen = backend.seen();
        assert_eq!(seen.len(), 50);
        assert!(
            seen.iter().all(|seen| seen.fields("host") == ["demo"] && seen.fields("cookie") == ["a=1; b=2"])
        );
        until("all are counted", || (house.balancer().requests.unwrap().by_class[1] == 50).then_some(()));
        assert_eq!(house.balancer().traffic.connections, 1);
    });
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    House::one(json!({}), |_, backend| {
        client(async |mut send| {
            let (answer, mut upload) =
                send.send_request(request(Method::POST, "http://demo/").body(()).unwrap(), false).unwrap();
            upload.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "5".parse().unwrap());
            upload.send_trailers(trailers).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
            let request = request(Method::GET, "http://demo/chunked").header("te", "trailers");
            let answer = send.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
            let (text, trailers) = body(answer.into_body()).await;
            assert_eq!(text, b"hello world");
            assert_eq!(trailers.unwrap()["x-sum"], "11");
            let answer = send.send_request(request_of("http://demo/big"), true).unwrap().0.await.unwrap();
            assert_eq!(body(answer.into_body()).await.0.len(), 20_000_000);
        });
        let seen = backend.seen().swap_remove(0);
        assert_eq!(seen.fields("transfer-encoding"), ["chunked"]);
        assert_eq!(seen.body, b"5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n");
    });
}

/// Answers of the balancer's own come to their end: a stream that is cut behind them is taken for a part of one.
#[test]
fn answers_that_nobody_was_asked_for_are_whole() {
    let rejected = json!({"rules": {"no": {"priority": 1, "match": {"path": ["/no"]},
        "action": {"reject": {"status": 403, "body": "not here"}}}}});
    House::one(rejected, |_, _| {
        client(async |mut send| {
            let answer = send.send_request(request_of("http://demo/no"), true).unwrap().0.await.unwrap();
            assert_eq!(answer.status(), 403);
            assert_eq!(body(answer.into_body()).await.0, b"not here");
            let answer = send.send_request(request_of("http://demo/garbage"), true).unwrap().0.await.unwrap();
            assert_eq!(answer.status(), 502);
            assert_eq!(body(answer.into_body()).await.0, b"502 the backend gave no valid answer\n");
        });
    });
}

#[test]
fn requests_that_are_none_are_refused_by_stream() {
    House::one(json!({"limits": {"uri_bytes": 100, "body_bytes": 10}}), |_, backend| {
        client(async |mut send| {
            let long = format!("http://demo/{}", "x".repeat(200));
            let cases = [
                (request(Method::CONNECT, "demo:80").body(()).unwrap(), 405),
                (request(Method::GET, "http://demo/").header("host", "other").body(()).unwrap(), 400),
                (request(Method::GET, "http://user@demo/").body(()).unwrap(), 400),
                (request_of(&long), 414),
                (request(Method::GET, "http://demo/").header("expect", "a miracle").body(()).unwrap(), 417),
            ];
            for (request, status) in cases {
                let said = format!("{request:?}");
                let answer = send.send_request(request, true).unwrap().0.await;
                assert_eq!(answer.map(|answer| answer.status().as_u16()).ok(), Some(status), "{said}");
            }
            let (answer, mut upload) =
                send.send_request(request(Method::POST, "http://demo/").body(()).unwrap(), false).unwrap();
            let _ = upload.send_data(Bytes::from_static(b"more than ten octets"), false);
            assert_eq!(answer.await.unwrap().status(), 413);
            assert_eq!(
                send.send_request(request_of("http://demo/"), true).unwrap().0.await.unwrap().status(),
                200
            );
        });
        assert_eq!(backend.seen().len(), 1);
    });
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_nothing_else() {
    House::one(json!({}), |house, _| {
        client(async |mut send| {
            let mut sent = 0;
            for _ in 0..100_000 {
                let Ok(ready) = send.ready().await else { break };
                send = ready;
                let Ok((_, mut stream)) = send.send_request(request_of("http://demo/silent"), false) else {
                    break;
                };
                stream.send_reset(h2::Reason::CANCEL);
                sent += 1;
                if sent % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            assert!(sent < 100_000, "nobody minded {sent} resets");
        });
        let mut client = house.client();
        assert_eq!(client.send("GET / HTTP/1.1\r\nHost: demo\r\n\r\n").answer().status, 200);
    });
}

#[test]
fn curl_gets_http_2_where_it_asks_for_it() {
    House::one(json!({}), |house, _| {
        for flag in ["--http2-prior-knowledge", "--http1.1", "--http1.0"] {
            let said = house.lab.ok("router", &format!("curl -sS {flag} -d hello http://{VIP}/"));
            assert_eq!(said, "5 octets", "{flag}");
        }
    });
}
