//! Tables: columns in line, a heading, no lines around them.

use comfy_table::{Row, Table as Layout, presets};

use super::output::plain;

/// How far columns stand apart.
const GAP: u16 = 2;

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Table(Layout);

impl Table {
    /// A table with these headings; without any, there is no heading.
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut layout = Layout::new();
        layout.load_style(presets::NOTHING);
        if N > 0 {
            layout.set_header(headings);
        }
        Self(layout)
    }

    /// Adds a line. Whatever a terminal would obey is shown instead: guests choose their host names.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(Row::from(cells.iter().map(|cell| plain(cell))));
    }

    /// The lines, each ended; none of them ends with a space.
    pub(super) fn text(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        self.0.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line_whatever_is_in_them() {
        let mut table = Table::new(["NAME", "N", "WHY"]);
        table.row(["größe".into(), "1".into(), "-".into()]);
        table.row(["东".into(), "20".into(), "a\nb\u{202e}c\u{1b}".into()]);
        let expected = "\
NAME   N   WHY
größe  1   -
东     20  a\\nb\\u{202e}c\\u{1b}
";
        assert_eq!(table.text(), expected);
    }
}
