//! A prediction over its image with the names of what it shows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use robustseg_models::CheckpointClass;

use super::escape::escape;

/// Height of an entry and width of the legend, in pixels.
const ROW: usize = 24;
const WIDTH: usize = 260;

/// An SVG of `overlay` (a PNG of `width` x `height` pixels) with the classes of `labels` to its
/// right: colour, name and share of the image, the largest first.
pub fn overlay_with_legend(
    overlay: &[u8],
    [width, height]: [usize; 2],
    labels: &[u8],
    classes: &[CheckpointClass],
) -> String {
    let mut counts = vec![0_usize; classes.len()];
    for label in labels {
        if let Some(count) = counts.get_mut(usize::from(*label)) {
            *count += 1;
        }
    }
    let mut shown: Vec<(usize, &CheckpointClass)> =
        counts.into_iter().zip(classes).filter(|(count, _)| *count > 0).collect();
    shown.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let (all, tall) = (width + WIDTH, height.max(ROW * shown.len() + 16));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"{tall}\" viewBox=\"0 0 {all} {tall}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"14\">\n<rect width=\"{all}\" height=\"{tall}\" fill=\"#fff\"/>\n\
         <image width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{}\"/>\n",
        STANDARD.encode(overlay)
    );
    for (row, (count, CheckpointClass { name, colour: [red, green, blue] })) in shown.into_iter().enumerate()
    {
        let (left, top) = (width + 16, ROW * row + 8);
        let share = 100.0 * count as f64 / labels.len().max(1) as f64;
        svg += &format!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"24\" height=\"16\" fill=\"rgb({red},{green},{blue})\" stroke=\"#333\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"#222\">{} {share:.1} %</text>\n",
            left + 32,
            top + 13,
            escape(name)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_classes_that_are_seen_are_named_the_largest_first() {
        let class = |name: &str, colour| CheckpointClass { name: name.into(), colour };
        let classes = [class("sky", [1, 2, 3]), class("<road>", [4, 5, 6]), class("tree", [7, 8, 9])];
        let svg = overlay_with_legend(b"abcd", [4, 1], &[1, 1, 0, 1], &classes);
        let (road, sky) = (svg.find("&lt;road&gt; 75.0 %").unwrap(), svg.find("sky 25.0 %").unwrap());
        assert!(road < sky && !svg.contains("tree") && svg.contains("base64,YWJjZA=="), "{svg}");
    }
}
