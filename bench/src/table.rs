//! Results as a table with ratios.

use std::fmt::Write as _;

/// One measurement's results.
pub struct Table {
    /// What was measured.
    pub title: String,
    /// The unit of the figures.
    pub unit: &'static str,
    /// What the two figures of a row are; ratios are of the first.
    pub columns: [&'static str; 2],
    /// Who was measured; ratios are to the first.
    pub rows: Vec<Row>,
    /// What has to be known to read it.
    pub notes: Vec<String>,
}

/// The columns of repeated measurements.
pub const PERCENTILES: [&str; 2] = ["p50", "p95"];

/// One row.
pub struct Row {
    /// Who or which part.
    pub who: String,
    /// The middle of the runs.
    pub p50: f64,
    /// The value that one run in twenty exceeds.
    pub p95: f64,
}

impl Row {
    /// A row from single measurements.
    pub fn of(who: &str, samples: &[f64]) -> Row {
        Row {
            who: who.to_owned(),
            p50: percentile(samples, 50),
            p95: percentile(samples, 95),
        }
    }
}

/// The nearest-rank percentile; zero without samples.
pub fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(0.0)
}

impl Table {
    /// The table in Markdown.
    pub fn render(&self) -> String {
        let mut text = format!(
            "\n## {}\n\n| | {} ({unit}) | {} ({unit}) | ratio |\n|---|---|---|---|\n",
            self.title,
            self.columns[0],
            self.columns[1],
            unit = self.unit
        );
        let base = self.rows.first().map_or(0.0, |row| row.p50);
        for row in &self.rows {
            let ratio = if base > 0.0 {
                format!("{:.2}", row.p50 / base)
            } else {
                "–".to_owned()
            };
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {ratio} |",
                row.who, row.p50, row.p95
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&samples, 50), 10.0);
        assert_eq!(percentile(&samples, 95), 19.0);
        assert_eq!(percentile(&[7.0], 95), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn ratios_are_to_the_first_row() {
        let rows = vec![Row::of("a", &[2.0]), Row::of("b", &[5.0])];
        let table = Table {
            title: "t".to_owned(),
            unit: "ms",
            columns: PERCENTILES,
            rows,
            notes: vec![],
        };
        assert!(table.render().contains("| b | 5.0 | 5.0 | 2.50 |"));
    }
}
