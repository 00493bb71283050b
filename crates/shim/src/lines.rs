//! From bytes as they are read to lines.

use apron_link::instance::LINE_BYTES_MAX;

/// Cuts a stream of bytes into lines of at most [`LINE_BYTES_MAX`] bytes; a longer line comes in several pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// Takes bytes and gives every line that is complete now.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(String)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.pending.extend_from_slice(&window[..end]);
                    bytes = &bytes[end + 1..];
                    emit(self.take());
                }
                None => {
                    self.pending.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.pending.len() == LINE_BYTES_MAX {
                        self.cut(&mut emit);
                    }
                }
            }
        }
    }

    /// Gives the last line when it had no end.
    pub fn finish(&mut self, mut emit: impl FnMut(String)) {
        if !self.pending.is_empty() {
            emit(self.take());
        }
    }

    /// Gives a full piece of an over-long line, never in the middle of a character.
    fn cut(&mut self, emit: &mut impl FnMut(String)) {
        let whole = self.pending.len() - incomplete_tail(&self.pending);
        let rest = self.pending.split_off(whole);
        emit(text(&self.pending));
        self.pending = rest;
    }

    fn take(&mut self) -> String {
        let line = self.pending.strip_suffix(b"\r").unwrap_or(&self.pending);
        let line = text(line);
        self.pending.clear();
        line
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Length of a character that begins in the last three bytes and does not end there.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let width = match bytes[bytes.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if width > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for part in parts {
            splitter.push(part, |line| lines.push(line));
        }
        splitter.finish(|line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_found_across_reads_and_the_last_needs_no_end() {
        assert_eq!(lines(&[b"a\r\nb", b"c\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(lines(&[b"a\n"]), ["a"]);
    }

    #[test]
    fn invalid_text_is_replaced_not_lost() {
        assert_eq!(lines(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn over_long_lines_come_in_pieces_with_nothing_lost() {
        let long = "é".repeat(LINE_BYTES_MAX);
        let odd = format!("x{long}\nend\n");
        let pieces = lines(&[odd.as_bytes()]);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= LINE_BYTES_MAX && !piece.contains('\u{fffd}'))
        );
        assert_eq!(pieces.concat(), format!("x{long}end"));
        assert!(pieces.len() >= 3);
    }
}
