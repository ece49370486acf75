//! A DNS server for tests: what it answers depends on the first label of the name, and it remembers what it was asked.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NULL, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::lab::Lab;

/// What the server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) id: u16,
    pub(crate) port: u16,
    pub(crate) tcp: bool,
    pub(crate) edns: Option<Edns>,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What names without another meaning lead to: it says which server answered.
    answer: Ipv4Addr,
    seen: Mutex<Vec<Seen>>,
    mute: AtomicBool,
    ended: AtomicBool,
}

type Work = Box<dyn FnOnce(&Arc<Shared>) + Send>;

impl Upstream {
    /// Starts a server on port 53 of an address in a namespace. Names lead to `answer`.
    pub(crate) fn start(lab: &Lab, namespace: &str, address: &str, answer: [u8; 4]) -> Self {
        let shared = Arc::new(Shared {
            answer: answer.into(),
            seen: Mutex::default(),
            mute: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let at = (address, 53);
        let (udp, tcp) =
            lab.inside(namespace, || (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap()));
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let path = format!("/run/netns/{}", lab.name(namespace));
        let start = |work: Work| {
            let (path, shared) = (path.clone(), shared.clone());
            thread::spawn(move || {
                nix::sched::setns(File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work(&shared);
            })
        };
        let threads = vec![
            start(Box::new(move |shared| serve_udp(&Arc::new(udp), shared))),
            start(Box::new(move |shared| serve_tcp(&tcp, shared))),
        ];
        Self { shared, threads }
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How often it was asked for a name.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.seen().iter().filter(|seen| seen.name == name).count()
    }

    /// Says nothing any more, or speaks again.
    pub(crate) fn mute(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::SeqCst);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Remembers a query, and answers where there is an answer.
    fn answer(&self, octets: &[u8], from: SocketAddr, tcp: bool) -> Vec<Vec<u8>> {
        let query = Message::from_vec(octets).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_string().trim_end_matches('.').to_owned();
        let seen = Seen {
            name,
            kind: question.query_type(),
            id: query.metadata.id,
            port: from.port(),
            tcp,
            edns: query.edns.clone(),
        };
        self.seen.lock().unwrap().push(seen);
        if self.mute.load(Ordering::SeqCst) {
            return Vec::new();
        }
        self.answers(&query, tcp)
    }

    /// The answers to a query: by the first label of the name.
    fn answers(&self, query: &Message, tcp: bool) -> Vec<Vec<u8>> {
        let question = query.queries[0].clone();
        let mut answer = query.clone();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        if let Some(edns) = &mut answer.edns {
            edns.set_max_payload(4096);
        }
        let record = |ttl: u32, data: RData| Record::from_rdata(question.name().clone(), ttl, data);
        let address = |ttl: u32| record(ttl, RData::A(A(self.answer)));
        let parent: Name = "example.com.".parse().unwrap();
        let soa = |minimum| {
            let soa = SOA::new(parent.clone(), parent.clone(), 1, 2, 3, 4, minimum);
            Record::from_rdata(parent.clone(), 600, RData::SOA(soa))
        };
        match question.name().to_string().split('.').next().unwrap_or_default() {
            "big" if !tcp => answer.metadata.truncation = true,
            "big" => {
                answer.add_answer(record(60, RData::TXT(TXT::new(vec!["x".repeat(250); 12]))));
            }
            "medium" => {
                answer.add_answer(record(60, RData::TXT(TXT::new(vec!["x".repeat(250); 3]))));
            }
            "slow" => {
                thread::sleep(Duration::from_millis(800));
                answer.add_answer(address(60));
            }
            "crawl" => {
                thread::sleep(Duration::from_millis(3000));
                answer.add_answer(address(60));
            }
            "servfail" => answer.metadata.response_code = ResponseCode::ServFail,
            "noedns" if query.edns.is_some() => {
                answer.metadata.response_code = ResponseCode::FormErr;
                answer.edns = None;
            }
            "nx" => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                answer.add_authority(soa(2));
            }
            "nodata" => {
                answer.add_authority(soa(2));
            }
            "short" => {
                answer.add_answer(address(2));
            }
            "zero" => {
                answer.add_answer(address(0));
            }
            "alias" => {
                let target: Name = "target.example.com.".parse().unwrap();
                answer.add_answer(record(60, RData::CNAME(CNAME(target.clone()))));
                answer.add_answer(Record::from_rdata(target, 60, RData::A(A(self.answer))));
            }
            "strange" => {
                let data = RData::Unknown {
                    code: RecordType::Unknown(65_280),
                    rdata: NULL::with(vec![0xc0, 0xff, 7]),
                };
                answer.add_answer(record(60, data));
            }
            "guessed" => {
                // Somebody who guesses is quicker, and wrong about the id.
                answer.add_answer(record(60, RData::A(A(Ipv4Addr::new(6, 6, 6, 6)))));
                let mut wrong = answer.to_vec().unwrap();
                wrong[0] ^= 1;
                let mut right = query.clone();
                right.metadata.message_type = MessageType::Response;
                right.add_answer(address(60));
                return vec![wrong, right.to_vec().unwrap()];
            }
            _ => match question.query_type() {
                RecordType::A => {
                    answer.add_answer(address(300));
                }
                RecordType::PTR => {
                    let name: Name =
                        format!("from-{}.example.com.", self.answer.octets()[3]).parse().unwrap();
                    answer.add_answer(record(60, RData::PTR(hickory_proto::rr::rdata::PTR(name))));
                }
                _ => {
                    answer.add_authority(soa(60));
                }
            },
        }
        vec![answer.to_vec().unwrap()]
    }
}

fn serve_udp(socket: &Arc<UdpSocket>, shared: &Arc<Shared>) {
    let mut buffer = [0; 4096];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let (socket, shared, octets) = (socket.clone(), shared.clone(), buffer[..length].to_vec());
        thread::spawn(move || {
            for answer in shared.answer(&octets, from, false) {
                let _ = socket.send_to(&answer, from);
            }
        });
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((mut stream, from)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let shared = shared.clone();
        thread::spawn(move || {
            stream.set_nonblocking(false).unwrap();
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut octets).unwrap();
                for answer in shared.answer(&octets, from, true) {
                    let framed =
                        [&u16::try_from(answer.len()).unwrap().to_be_bytes(), answer.as_slice()].concat();
                    let _ = stream.write_all(&framed);
                }
            }
        });
    }
}
