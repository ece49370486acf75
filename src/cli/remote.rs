//! The command line without a shell around it: the words of a command that somebody sends from elsewhere, run in the process
//! that is the router. The commands are those of `vrctl`; what says where a router is, and who asks, is not among them, for
//! that is known. Called by the daemon for SSH.

use std::fmt;
use std::sync::Arc;

use clap::Parser;

use super::arguments::Command;
use super::client::Client;
use super::credentials::Credentials;
use super::error::Exit;
use super::input::{Input, Sent};
use super::output::Output;
use super::system::SystemCommand;
use super::way::{Bounds, Dial, Way, Within};

const ABOUT_HERE: &str = "\
Over SSH a FILE is always `-`: the content comes along with the command, as in `ssh ROUTER apply - < router.json`.
The exit codes are those of vrctl. Without a command there is a prompt, which `exit` or Ctrl-D leaves.";

/// The commands of a router.
#[derive(Debug, Parser)]
#[command(name = "vrctl", version, about = "The command line of this virtual router.", after_help = ABOUT_HERE,
          no_binary_name = true)]
struct Remote {
    /// Print the router's answer as JSON; a refusal too goes to standard output, as a problem document (RFC 9457).
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// How a command is run for somebody elsewhere.
pub struct Visit {
    /// Makes connections to the router's API that say who asks.
    pub dial: Dial,
    /// What comes along with the command.
    pub sent: Option<Sent>,
    /// What all of them share.
    pub bounds: Arc<Bounds>,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").finish_non_exhaustive()
    }
}

impl Remote {
    /// Whether the command takes what comes along with it.
    const fn reads(&self) -> bool {
        match &self.command {
            Command::Apply { .. } | Command::Patch { .. } | Command::Plan { .. } => true,
            Command::System { command } => matches!(command, SystemCommand::Update { .. }),
            _ => false,
        }
    }

    /// Whether the command goes on until somebody ends it.
    const fn is_endless(&self) -> bool {
        match &self.command {
            Command::Status { watch } => *watch,
            Command::Balancers { watch, .. } => watch.is_some(),
            Command::Console => true,
            _ => false,
        }
    }
}

/// Does what the words say; `vrctl` may stand before them. What comes along with a command that does not take it is let go
/// of at once.
pub async fn run(words: &[String], visit: Visit, output: &mut Output<'_>) -> Exit {
    let words = match words {
        [first, rest @ ..] if first == "vrctl" => rest,
        words => words,
    };
    let remote = match Remote::try_parse_from(words) {
        Ok(remote) => remote,
        Err(said) if said.exit_code() == 0 => {
            // Help that nobody reads to its end is no failure.
            let _ = output.print(&said.render().to_string());
            return Exit::Done;
        }
        Err(said) => return output.complain(said.render().to_string().trim_end()),
    };
    let Visit { dial, sent, bounds } = visit;
    let input = Input::sent(sent.filter(|_| remote.reads()), bounds.clone());
    let way = Way::Within(Within::new(dial, bounds, remote.is_endless()));
    let Remote { json, command } = remote;
    let client = Client::new(way, Credentials::default());
    match super::command(command, json, (&client, &input), output).await {
        Ok(exit) => exit,
        Err(error) => output.error(&error, json),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// What a command says, where the router answers every request with `answer`, and what it was asked.
    async fn said(line: &str, sent: Option<&'static [u8]>, answer: &'static str) -> (Exit, String, String) {
        let (heard, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let dial: Dial = Arc::new(move || {
            let (mine, theirs) = tokio::io::duplex(1024);
            let heard = heard.clone();
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(theirs);
                let (mut request, mut body) = (Vec::new(), 0);
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(octet) = read.read_u8().await else { break };
                    request.push(octet);
                }
                let head = String::from_utf8_lossy(&request).into_owned();
                if let Some((_, length)) = head.split_once("content-length: ") {
                    body = length.lines().next().unwrap().parse().unwrap();
                }
                let mut content = vec![0; body];
                let _ = read.read_exact(&mut content).await;
                request.extend(content);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                let _ = write.write_all(head.as_bytes()).await;
                let _ = heard.send(String::from_utf8_lossy(&request).into_owned());
            });
            Ok(mine)
        });
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let sent = sent.map(|sent| Box::new(sent) as Sent);
        let exit = {
            let mut output = Output::new(&mut stdout, &mut stderr, false);
            run(&words(line), Visit { dial, sent, bounds: Arc::new(Bounds::new(64)) }, &mut output).await
        };
        asked.close();
        let asked = asked.recv().await.unwrap_or_default();
        (exit, format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)), asked)
    }

    #[tokio::test]
    async fn a_command_asks_the_router_that_it_is_in() {
        for line in ["config", "vrctl config", "--json config"] {
            let (exit, told, asked) = said(line, None, "{\"version\":1}").await;
            assert_eq!((exit, told.as_str()), (Exit::Done, "{\n  \"version\": 1\n}\n"), "{line}");
            assert!(asked.starts_with("GET /v1/config HTTP/1.1\r\n"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_document_comes_along_with_the_command_and_from_nowhere_else() {
        let done = "{\"generation\":7,\"changed\":false}";
        let (exit, told, asked) = said("apply -", Some(b"{\"version\":1}"), done).await;
        assert_eq!((exit, told.as_str()), (Exit::Done, "nothing changed; generation 7 runs\n"));
        assert!(asked.starts_with("POST /v1/config ") && asked.ends_with("{\"version\":1}"), "{asked}");
        let (exit, told, _) = said("apply -", Some(&[b' '; 65]), done).await;
        assert!(exit == Exit::Usage && told.contains("it is larger than"), "{told}");
        for (line, why) in [
            ("apply /etc/passwd", "files of the router are not read"),
            ("plan -", "nothing comes along"),
            ("system update /dev/vda", "files of the router are not read"),
        ] {
            let (exit, told, asked) = said(line, None, done).await;
            assert_eq!((exit, asked.as_str()), (Exit::Usage, ""), "{line}: {told}");
            assert!(told.contains(why), "{line}: {told}");
        }
    }

    #[tokio::test]
    async fn nobody_says_here_where_a_router_is() {
        for line in
            ["--url http://192.0.2.1:1 status", "status --socket /run/x", "--token-file /x status", "sh", ""]
        {
            let (exit, told, asked) = said(line, None, "{}").await;
            assert_eq!((exit, asked.as_str()), (Exit::Usage, ""), "{line}: {told}");
        }
        let (exit, told, _) = said("--help", None, "{}").await;
        assert_eq!(exit, Exit::Done);
        assert!(told.contains("Over SSH a FILE is always") && told.contains("connections"), "{told}");
    }

    #[test]
    fn only_some_commands_take_what_comes_along() {
        let reads = |line: &str| Remote::try_parse_from(words(line)).is_ok_and(|remote| remote.reads());
        assert!(["apply -", "patch -", "plan -", "system update -"].into_iter().all(reads));
        assert!(!["status", "config", "system show", "rollback 1"].into_iter().any(reads));
    }
}
