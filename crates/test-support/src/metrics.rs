/// The sum of a metric's samples in a text of Prometheus, of those that have all these labels;
/// 0 where there are none. For metrics that count whole things.
pub fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> i64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter_map(|sample| match sample.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once("} "),
            None => sample.strip_prefix(' ').map(|value| ("", value)),
        })
        .filter(|(known, _)| {
            labels.iter().all(|(label, value)| {
                let wanted = format!("{label}=\"{value}\"");
                known.split(',').any(|pair| pair == wanted)
            })
        })
        .map(|(_, value)| value.parse::<i64>().unwrap())
        .sum()
}
