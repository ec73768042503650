//! Plots as SVG, small enough to be read as text.

use super::goals::short;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 44.0;
const TOP: f64 = 36.0;

/// Bars with their values on top, in the order given.
pub(super) fn bars(title: &str, unit: &str, bars: &[(String, f64)]) -> String {
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let slot = (WIDTH - LEFT) / bars.len().max(1) as f64;
    let room = HEIGHT - TOP - BOTTOM;
    let mut body = String::new();
    for (index, (name, value)) in bars.iter().enumerate() {
        let (x, height) = (LEFT + slot * index as f64, room * value / most);
        let (middle, y) = (x + slot / 2.0, HEIGHT - BOTTOM - height);
        let (left, width) = (x + slot * 0.15, slot * 0.7);
        body.push_str(&format!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#3b6ea5\"/>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            y - 5.0,
            short(*value),
            HEIGHT - BOTTOM + 18.0,
            escaped(name),
        ));
    }
    let line = HEIGHT - BOTTOM;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>\n\
         <text x=\"8\" y=\"{TOP}\">{}</text>\n\
         <line x1=\"{LEFT}\" y1=\"{line}\" x2=\"{WIDTH}\" y2=\"{line}\" stroke=\"#444\"/>\n\
         {body}</svg>\n",
        escaped(title),
        escaped(unit),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_its_name_and_value_and_the_text_is_escaped() {
        let svg = bars(
            "a < b",
            "jobs/s",
            &[("1".to_owned(), 10.0), ("64".to_owned(), 2_400.0)],
        );
        for shown in ["a &lt; b", "jobs/s", ">64<", ">2,400<", ">10.0<"] {
            assert!(svg.contains(shown), "{shown} in {svg}");
        }
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars");
    }
}
