use super::*;

fn chart(lines: Vec<Line>) -> Chart {
    Chart::new("", "epsilon", "mean IoU", lines)
}

/// The numbers of points in the lines of `colour`.
fn polylines(svg: &str, colour: &str) -> Vec<usize> {
    let of_colour =
        |line: &&str| line.starts_with("<polyline") && line.contains(&format!("stroke=\"{colour}\""));
    let points = |line: &str| line.split('"').nth(3).unwrap_or_default().split(' ').count();
    svg.lines().filter(of_colour).map(points).collect()
}

#[test]
fn every_line_goes_through_all_its_points() {
    let points: Vec<_> = (0..9).map(|point| (f64::from(point) / 200.0, 0.7 / f64::from(1 + point))).collect();
    let lines = ["Basic", "FGSM & <more>"].map(|label| Line::through(label, points.clone()));
    for size in [Size::Wide, Size::Narrow] {
        let svg = chart(lines.to_vec()).svg(size);
        for colour in ["#0072b2", "#d55e00"] {
            assert!(polylines(&svg, colour).contains(&9), "{colour}: {svg}");
        }
        for part in ["epsilon", "mean IoU", "0.03", "FGSM &amp; &lt;more&gt;"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        for stranger in ["<script", "href", "@import", "url(", "NaN"] {
            assert!(!svg.contains(stranger), "{stranger}");
        }
    }
}

#[test]
fn the_bold_line_is_thicker_and_alone_has_a_band() {
    let band = vec![(0.0, 0.6, 0.95), (0.04, 0.4, 0.6)];
    let line = Line { band, ..Line::through("worst case", vec![(0.0, 0.7), (0.04, 0.5)]) };
    let svg = |lines| chart(lines).svg(Size::Wide);
    let bold = Line { bold: true, ..line.clone() };
    assert!(svg(vec![bold.clone()]).contains("stroke-width=\"4\""));
    assert!(!svg(vec![line.clone()]).contains("stroke-width=\"4\""));
    assert_eq!(chart(vec![line.clone()]).limits(), [0.0, 0.04, 0.0, 1.0]);
    let bands = |lines| svg(lines).matches("fill-opacity").count();
    assert_eq!(bands(vec![line.clone()]), 1);
    assert_eq!(bands(vec![line.clone(), line.clone()]), 0);
    assert_eq!(bands(vec![line.clone(), line, bold]), 1);
}

#[test]
fn charts_of_nothing_little_or_infinity_are_drawn() {
    for values in
        [vec![], vec![(0, 0.0)], vec![(7, 1e30)], vec![(0, 1e-12), (1, 0.5)], vec![(0, f64::NAN), (1, 0.5)]]
    {
        let svg = chart(vec![Line::over_steps("loss", &values)]).svg(Size::Narrow);
        assert!(svg.contains("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
    }
    assert!(chart(Vec::new()).svg(Size::Wide).contains("</svg>"));
}

#[test]
fn an_axis_reaches_below_zero_where_a_line_does() {
    let line = Line::over_steps("x", &[(0, -0.011), (5, 0.7)]);
    assert_eq!(chart(vec![line]).limits(), [0.0, 5.0, -0.015, 0.8]);
}

#[test]
fn ticks_are_round_numbers_on_every_axis() {
    for ends in
        [(-0.3, 0.7), (-0.1, 1.2), (-0.00013, 0.0004), (-7.0, 3.0), (-0.6, 0.1), (-2e-9, 3e-9), (0.0, 3e7)]
    {
        let points = vec![(ends.0, ends.1), (ends.1, ends.0)];
        let svg = chart(vec![Line::through("x", points)]).svg(Size::Wide);
        let texts = svg.split("</text>").filter_map(|part| part.rsplit('>').next());
        let numbers: Vec<&str> = texts.map(str::trim).filter(|text| text.parse::<f64>().is_ok()).collect();
        assert!(numbers.len() > 6 && numbers.contains(&"0"), "{ends:?}: {numbers:?}");
        assert!(numbers.iter().all(|number| number.len() < 9), "{ends:?}: {numbers:?}");
    }
}

#[test]
fn a_chart_in_words_has_the_ends_of_its_lines() {
    let lines = vec![
        Line::through("FGSM", vec![(0.0, 0.7), (0.02, 0.6), (0.04, 0.5)]),
        Line::through("point", vec![(0.01, 0.3)]),
        Line::through("empty", vec![(f64::NAN, 1.0)]),
    ];
    let chart = Chart { title: "Robustness".into(), ..chart(lines) };
    assert_eq!(
        chart.in_words(),
        "Robustness. Chart of mean IoU over epsilon. FGSM: 0.7 at 0 to 0.5 at 0.04; point: 0.3 at 0.01."
    );
}
