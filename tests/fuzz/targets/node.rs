//! The management node of target `zstack_door`: it speaks to the port over real connections and takes the answers that are
//! posted back.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long the router may take for anything before it hangs: the engine's own limit is a little more.
const PATIENCE: Duration = Duration::from_secs(8);

/// Somebody who listens for answers.
pub(crate) struct Node {
    /// Where the router's port is.
    port: SocketAddr,
    /// Where answers are wanted.
    callback: String,
    answers: Receiver<(String, Value)>,
    sent: u64,
}

impl Node {
    /// A management node of the router whose port this is.
    pub(crate) fn of(port: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let callback = format!("http://{}/", listener.local_addr().expect("an address"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Who hangs up on the node is the router's to explain: the answer is missed then.
                if let Ok(Some(answer)) = take(stream)
                    && sender.send(answer).is_err()
                {
                    return;
                }
            }
        });
        Self { port, callback, answers, sent: 0 }
    }

    /// Where it wants its answers.
    pub(crate) fn callback(&self) -> &str {
        &self.callback
    }

    /// A uuid that no task has had.
    pub(crate) fn fresh(&mut self) -> String {
        self.sent += 1;
        format!("{:032x}", self.sent)
    }

    /// Posts a command, and says the status of what is answered at once.
    pub(crate) fn post(&self, task: &str, path: &str, body: &[u8]) -> u16 {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\ntaskuuid: {task}\r\ncallbackurl: {}\r\n\
             Content-Length: {}\r\n\r\n",
            self.callback,
            body.len()
        );
        let said = self.say(&[head.as_bytes(), body].concat(), false).expect("the port answers");
        let status = statuses(&said).next();
        status.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&said)))
    }

    /// Sends octets as they are and hears what is said until the port hangs up; where that is not asked of it, the node hangs
    /// up in its direction first.
    pub(crate) fn say(&self, octets: &[u8], hangs_up: bool) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.port)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // The port may have heard enough before it heard everything.
        let _ = stream.write_all(octets);
        let mut said = Vec::new();
        if hangs_up {
            let _ = stream.shutdown(Shutdown::Write);
        }
        match stream.read_to_end(&mut said) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the port hangs"),
            // It hung up without reading all.
            Err(_) | Ok(_) => Ok(said),
        }
    }

    /// The answer to a task; others that come meanwhile are nobody's.
    pub(crate) fn wait(&self, task: &str) -> Value {
        loop {
            match self.answers.recv_timeout(PATIENCE) {
                Ok((of, answer)) if of == task => return answer,
                Ok(_) => {}
                Err(_) => panic!("no answer to {task}"),
            }
        }
    }

    /// A number that the port counts.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let said = self.say(b"GET /metrics HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n", false);
        let said = String::from_utf8(said.expect("the port answers")).expect("metrics are text");
        let value = said.lines().find_map(|said| said.strip_prefix(line)?.trim().parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{line} is not in {said}")) as u64
    }
}

/// The statuses of the answers in what was said.
pub(crate) fn statuses(said: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let begins = said.windows(12).filter(|part| part.starts_with(b"HTTP/1.1 "));
    begins.filter_map(|part| std::str::from_utf8(part.get(9..)?).ok()?.parse().ok())
}

/// An answer that the router posts: the task's uuid and what became of it.
fn take(mut stream: TcpStream) -> io::Result<Option<(String, Value)>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut octets, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(octets.get(..end).unwrap_or_default()).into_owned();
            let field = |name: &str| {
                head.lines().find_map(|line| {
                    let (known, value) = line.split_once(':')?;
                    known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                })
            };
            let length: usize = field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let body = octets.get(end + 4..).unwrap_or_default();
            if body.len() >= length {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                let answer = serde_json::from_slice(body).expect("an answer is JSON");
                return Ok(field("taskuuid").map(|task| (task, answer)));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            length => octets.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
    }
}
