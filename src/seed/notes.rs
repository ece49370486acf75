//! What is to be said of a seed: what was left out, and what keeps it from being taken. Bounded, whatever is on the disk.

/// How many of each are kept; the rest is counted.
const MOST: usize = 40;
/// How long one may be, in octets.
const LONGEST: usize = 300;

/// What is gathered while a seed is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What is left out.
    notes: Vec<String>,
    /// What keeps the whole of it from being taken.
    faults: Vec<String>,
    /// The file that is being read.
    file: String,
    /// Whether something of IPv6 was left out.
    ipv6: Vec<String>,
}

impl Notes {
    /// What follows is of this file.
    pub(super) fn of(&mut self, file: &str) -> &mut Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Something is left out.
    pub(super) fn note(&mut self, text: impl AsRef<str>) {
        let line = self.line(text.as_ref());
        push(&mut self.notes, line);
    }

    /// Something keeps the whole from being taken.
    pub(super) fn fault(&mut self, text: impl AsRef<str>) {
        let line = self.line(text.as_ref());
        push(&mut self.faults, line);
    }

    /// Something of IPv6 is left out; that is said once, with all that it concerns.
    pub(super) fn ipv6(&mut self, what: &str) {
        push(&mut self.ipv6, clean(what));
    }

    /// What was left out, and what keeps it from being taken.
    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        let Self { mut notes, faults, ipv6, .. } = self;
        if !ipv6.is_empty() {
            notes.push(format!("IPv6 is not done, and left out: {}", clean(&ipv6.join("; "))));
        }
        (notes, faults)
    }

    fn line(&self, text: &str) -> String {
        clean(&format!("{}: {text}", self.file))
    }
}

fn push(lines: &mut Vec<String>, line: String) {
    if lines.len() == MOST {
        lines.push("there is more of this".to_owned());
    }
    if lines.len() < MOST && !lines.contains(&line) {
        lines.push(line);
    }
}

/// One line that a console can show.
fn clean(text: &str) -> String {
    let mut line: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if let Some((end, _)) = line.char_indices().find(|(index, _)| *index >= LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}
