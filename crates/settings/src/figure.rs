//! What settings allow at worst: figures that are computed before anything happens, so that a
//! reader can judge them, a dashboard can draw them and a test can hold what it measures to them.

use std::{fmt, time::Duration};

use humantime::format_duration;
use serde_json::{Value, json};

/// One thing that never exceeds this as long as the settings are in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Stable name in `snake_case`: a metric label, and what `check` calls it.
    pub name: &'static str,
    /// How much.
    pub quantity: Quantity,
    /// The sum in words, with the settings' names and values, so that a reader can redo it.
    pub because: String,
}

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// A time.
    Duration(Duration),
    /// A number of things.
    Count(u64),
    /// A multiple of something.
    Ratio(f64),
    /// Memory.
    Bytes(u64),
}

impl Figure {
    /// A time.
    pub fn duration(name: &'static str, value: Duration, because: impl fmt::Display) -> Self {
        Self::new(name, Quantity::Duration(value), because)
    }

    /// A number of things.
    pub fn count(name: &'static str, value: u64, because: impl fmt::Display) -> Self {
        Self::new(name, Quantity::Count(value), because)
    }

    /// A multiple of something.
    pub fn ratio(name: &'static str, value: f64, because: impl fmt::Display) -> Self {
        Self::new(name, Quantity::Ratio(value), because)
    }

    /// Memory.
    pub fn bytes(name: &'static str, value: u64, because: impl fmt::Display) -> Self {
        Self::new(name, Quantity::Bytes(value), because)
    }

    fn new(name: &'static str, quantity: Quantity, because: impl fmt::Display) -> Self {
        let because = because.to_string();
        Self {
            name,
            quantity,
            because,
        }
    }

    /// The figure as `check --output json` gives it; durations in seconds.
    pub fn json(&self) -> Value {
        let (value, unit) = match self.quantity {
            Quantity::Duration(value) => (json!(value.as_secs_f64()), "seconds"),
            Quantity::Count(value) => (json!(value), "count"),
            Quantity::Ratio(value) => (json!(value), "ratio"),
            Quantity::Bytes(value) => (json!(value), "bytes"),
        };
        json!({ "name": self.name, "value": value, "unit": unit, "because": self.because })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Duration(value) => write!(f, "{}", format_duration(value)),
            Self::Count(value) => write!(f, "{value}"),
            Self::Ratio(value) => write!(f, "{}x", (value * 1_000.0).round() / 1_000.0),
            Self::Bytes(value) => match value {
                0..1_024 => write!(f, "{value}B"),
                1_024..1_048_576 => write!(f, "{}KiB", value.div_ceil(1_024)),
                _ => write!(f, "{}MiB", value.div_ceil(1_048_576)),
            },
        }
    }
}

/// A duration as settings are written: `250ms`, `1m 5s`.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format_duration(self.0))
    }
}

/// All figures as aligned lines: name, how much, why.
pub fn page(figures: &[Figure]) -> String {
    let width = |length: fn(&Figure) -> usize| figures.iter().map(length).max().unwrap_or(0);
    let name = width(|figure| figure.name.len());
    let quantity = width(|figure| figure.quantity.to_string().len());
    let line = |figure: &Figure| {
        let shown = figure.quantity.to_string();
        format!(
            "{:name$}  {shown:>quantity$}  {}\n",
            figure.name, figure.because
        )
    };
    figures.iter().map(line).collect()
}

/// Writes the figures to the log, a line each: fields of one line could not have their names.
pub fn log(figures: &[Figure]) {
    const WORST_CASE: &str = "worst case that the settings allow";
    for &Figure {
        name: figure,
        quantity,
        ..
    } in figures
    {
        match quantity {
            Quantity::Duration(value) => {
                tracing::info!(figure, seconds = value.as_secs_f64(), WORST_CASE);
            }
            Quantity::Count(count) => tracing::info!(figure, count, WORST_CASE),
            Quantity::Ratio(ratio) => tracing::info!(figure, ratio, WORST_CASE),
            Quantity::Bytes(bytes) => tracing::info!(figure, bytes, WORST_CASE),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{Figure, page};

    fn figures() -> [Figure; 4] {
        [
            Figure::duration("longest", Duration::from_millis(1_250), "a 1s + b 250ms"),
            Figure::count("most", 7, "c 7"),
            Figure::ratio("amplification", 1.15, "1 + d 0.15"),
            Figure::bytes("memory", 67_108_864, "e 67108864"),
        ]
    }

    #[test]
    fn a_page_has_a_line_for_each_figure_in_columns() {
        let expected = "longest        1s 250ms  a 1s + b 250ms\n\
                        most                  7  c 7\n\
                        amplification     1.15x  1 + d 0.15\n\
                        memory            64MiB  e 67108864\n";
        assert_eq!(page(&figures()), expected);
    }

    #[test]
    fn json_keeps_value_and_unit_apart() {
        let json: Vec<_> = figures().iter().map(Figure::json).collect();
        let values: Vec<_> = json.iter().map(|it| [&it["value"], &it["unit"]]).collect();
        let expected = json!([
            [1.25, "seconds"],
            [7, "count"],
            [1.15, "ratio"],
            [67_108_864, "bytes"]
        ]);
        assert_eq!(json!(values), expected);
        assert_eq!(json[0]["name"], "longest");
        assert_eq!(json[0]["because"], "a 1s + b 250ms");
    }

    #[test]
    fn memory_is_rounded_up_so_that_the_shown_figure_is_a_bound_too() {
        let shown = |bytes| Figure::bytes("memory", bytes, "").quantity.to_string();
        assert_eq!(shown(1_023), "1023B");
        assert_eq!(shown(1_025), "2KiB");
        assert_eq!(shown(1_048_577), "2MiB");
    }
}
