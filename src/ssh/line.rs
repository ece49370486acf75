//! The line that is typed at a prompt: its end is edited, older lines are brought back, and everything else that a terminal
//! sends is passed over. Pure; called by `conversation.rs` with each octet.

use std::collections::VecDeque;

/// The longest line, in octets.
const LONGEST: usize = 4096;
/// How many lines are remembered.
const REMEMBERED: usize = 64;

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const LINE_FEED: u8 = b'\n';
const RETURN: u8 = b'\r';
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;
/// Ctrl-C, Ctrl-D, Ctrl-U and Ctrl-W, as terminals send them.
pub(super) const INTERRUPT: u8 = 0x03;
pub(super) const END: u8 = 0x04;
const KILL: u8 = 0x15;
const WORD_ERASE: u8 = 0x17;

/// What came of an octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// The line goes on.
    More,
    /// A line is whole.
    Line(String),
    /// The line is given up; the next one begins.
    Abandoned,
    /// There will be no line any more.
    End,
}

/// A line in the making.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
    older: VecDeque<Vec<u8>>,
    /// Which of the older lines is shown, counted from the newest.
    shown: Option<usize>,
    key: Key,
    /// The octet before was a return, and a line feed behind it is the same end of a line.
    returned: bool,
}

/// How far a key is understood that sends several octets (ECMA-48 section 5.4).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    #[default]
    Plain,
    Escaped,
    Sequence,
}

impl Line {
    /// Takes an octet; what the terminal is to show goes to `echo`.
    pub(super) fn take(&mut self, octet: u8, echo: &mut Vec<u8>) -> Typed {
        let returned = std::mem::take(&mut self.returned);
        match self.key {
            Key::Escaped => {
                self.key = if matches!(octet, b'[' | b'O') { Key::Sequence } else { Key::Plain };
                return Typed::More;
            }
            Key::Sequence => {
                if (0x40..=0x7e).contains(&octet) {
                    self.key = Key::Plain;
                    self.arrow(octet, echo);
                }
                return Typed::More;
            }
            Key::Plain => {}
        }
        match octet {
            LINE_FEED if returned => {}
            RETURN | LINE_FEED => {
                self.returned = octet == RETURN;
                echo.extend(b"\r\n");
                return Typed::Line(self.whole());
            }
            INTERRUPT => {
                echo.extend(b"^C\r\n");
                self.text.clear();
                self.shown = None;
                return Typed::Abandoned;
            }
            END if self.text.is_empty() => return Typed::End,
            BACKSPACE | DELETE => self.erase(1, echo),
            KILL => self.erase(usize::MAX, echo),
            WORD_ERASE => {
                let kept = self.text.trim_ascii_end();
                let kept = kept.iter().rposition(|octet| *octet == b' ').map_or(0, |space| space + 1);
                let erased =
                    String::from_utf8_lossy(self.text.get(kept..).unwrap_or_default()).chars().count();
                self.erase(erased, echo);
            }
            ESCAPE => self.key = Key::Escaped,
            b' '..=b'~' | 0x80.. if self.text.len() < LONGEST => {
                self.text.push(octet);
                echo.push(octet);
            }
            _ => echo.push(BELL),
        }
        Typed::More
    }

    /// What was typed before the sender ended in the middle of a line.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.text.is_empty()).then(|| self.whole())
    }

    fn whole(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        self.shown = None;
        let line = String::from_utf8_lossy(&text).into_owned();
        if !line.trim().is_empty() && self.older.front() != Some(&text) {
            self.older.truncate(REMEMBERED - 1);
            self.older.push_front(text);
        }
        line
    }

    /// Takes so many characters away from the end.
    fn erase(&mut self, characters: usize, echo: &mut Vec<u8>) {
        for _ in 0..characters {
            // An octet of a character in UTF-8 that is not its first is 10xxxxxx (RFC 3629 section 3).
            let Some(first) = self.text.iter().rposition(|octet| octet & 0xc0 != 0x80) else {
                self.text.clear();
                return;
            };
            self.text.truncate(first);
            echo.extend(b"\x08 \x08");
        }
    }

    /// Shows an older line, or a newer one again.
    fn arrow(&mut self, last: u8, echo: &mut Vec<u8>) {
        let shown = match (last, self.shown) {
            (b'A', None) => Some(0),
            (b'A', Some(shown)) => Some(shown + 1),
            (b'B', Some(shown)) => shown.checked_sub(1),
            _ => return,
        };
        let text = match shown.map(|shown| self.older.get(shown)) {
            Some(Some(older)) => older.clone(),
            Some(None) => return echo.push(BELL),
            None => Vec::new(),
        };
        self.erase(usize::MAX, echo);
        echo.extend(&text);
        (self.text, self.shown) = (text, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that come of what is typed, and what a terminal shows of it.
    fn typed(line: &mut Line, octets: &[u8]) -> (Vec<Typed>, String) {
        let mut echo = Vec::new();
        let came =
            octets.iter().map(|octet| line.take(*octet, &mut echo)).filter(|typed| *typed != Typed::More);
        (came.collect(), String::from_utf8_lossy(&echo).into_owned())
    }

    fn line(text: &str) -> Typed {
        Typed::Line(text.to_owned())
    }

    #[test]
    fn a_line_ends_once_however_it_does() {
        let mut typing = Line::default();
        let (came, echo) = typed(&mut typing, b"one\r\ntwo\nthree\r\rfour");
        assert_eq!(came, [line("one"), line("two"), line("three"), line("")]);
        assert_eq!(echo, "one\r\ntwo\r\nthree\r\n\r\nfour");
        assert_eq!((typing.rest(), typing.rest()), (Some("four".to_owned()), None));
    }

    #[test]
    fn its_end_can_be_edited() {
        let (came, echo) = typed(&mut Line::default(), "stä\u{7f}atus\r".as_bytes());
        assert_eq!((came, echo.as_str()), (vec![line("status")], "stä\u{8} \u{8}atus\r\n"));
        let (came, _) = typed(&mut Line::default(), b"diff 3 77\x17\x177\r");
        assert_eq!(came, [line("diff 7")]);
        let (came, _) = typed(&mut Line::default(), b"diff\x15\x7f\x7fconfig\r");
        assert_eq!(came, [line("config")]);
    }

    #[test]
    fn ctrl_c_gives_a_line_up_and_ctrl_d_ends_where_there_is_none() {
        let (came, echo) = typed(&mut Line::default(), b"ab\x04c\x03\x04");
        assert_eq!((came, echo.as_str()), (vec![Typed::Abandoned, Typed::End], "ab\u{7}c^C\r\n"));
    }

    #[test]
    fn older_lines_come_back() {
        let mut typing = Line::default();
        typed(&mut typing, b"one\rtwo\rtwo\r  \r");
        let up = b"\x1b[A";
        assert_eq!(typed(&mut typing, &[up.as_slice(), b"\r"].concat()).0, [line("two")]);
        assert_eq!(typed(&mut typing, &[up.as_slice(), up, b"!\r"].concat()).0, [line("one!")]);
        let (came, echo) = typed(&mut typing, &[up.as_slice(), up, up, up, b"\x1bOB\x1b[B\x1b[B\r"].concat());
        assert_eq!(came, [line("")], "{echo:?}");
        assert!(echo.contains('\u{7}'), "there is none older: {echo:?}");
    }

    #[test]
    fn keys_that_mean_nothing_leave_nothing() {
        let (came, _) = typed(&mut Line::default(), b"\x1b[1;5Ca\x1b[3~b\x1b[200~c\x1bxd\te\x00\r");
        assert_eq!(came, [line("abcde")]);
    }

    #[test]
    fn a_line_is_bounded_and_so_is_what_is_remembered() {
        let mut typing = Line::default();
        let long = [vec![b'x'; 2 * LONGEST], vec![b'\r']].concat();
        assert_eq!(typed(&mut typing, &long).0, [line(&"x".repeat(LONGEST))]);
        for number in 0..1000 {
            typed(&mut typing, format!("{number}\r").as_bytes());
        }
        assert_eq!(typing.older.len(), REMEMBERED);
    }

    #[test]
    fn whatever_is_typed_leaves_text() {
        for octet in 0..=u8::MAX {
            let mut typing = Line::default();
            let (came, _) =
                typed(&mut typing, &[octet, 0x7f, octet, 0x1b, octet, 0xc3, octet, 0x17, b'\r', b'\r']);
            assert!(matches!(came.last(), Some(Typed::Line(_) | Typed::End)), "{octet}: {came:?}");
        }
    }
}
