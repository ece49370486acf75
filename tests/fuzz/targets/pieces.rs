//! Octets in pieces, as a network delivers them. Part of the targets that read streams.

/// `octets` cut into pieces whose lengths are those of `cuts` by turns; whole where there are none.
pub fn cut<'a>(octets: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = octets;
    for length in cuts.iter().cycle().take(octets.len()) {
        let (piece, behind) = rest.split_at(usize::from(*length).max(1).min(rest.len()));
        pieces.push(piece);
        rest = behind;
        if rest.is_empty() {
            return pieces;
        }
    }
    pieces.push(rest);
    pieces
}

/// The lengths of pieces at the end of an input, and what stands before them: its last octet says how many there are.
pub fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, data) = data.split_last()?;
    data.split_at_checked(data.len().checked_sub(usize::from(*count % 8))?)
}
