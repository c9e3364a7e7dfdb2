//! Legends of label maps.

use robustseg_models::CheckpointClass;

use super::escape::escape;

/// Height of a line, in pixels.
const LINE: usize = 22;

/// An SVG with the colour, index and name of each class.
pub fn legend(classes: &[CheckpointClass]) -> String {
    let longest = classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0);
    let (width, height) = (80 + 9 * longest, LINE * classes.len() + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"system-ui, \
         sans-serif\" font-size=\"14\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (index, CheckpointClass { name, colour: [red, green, blue] }) in classes.iter().enumerate() {
        let (top, base) = (LINE * index + 8, LINE * index + 21);
        svg += &format!(
            "<rect x=\"8\" y=\"{top}\" width=\"24\" height=\"16\" fill=\"rgb({red},{green},{blue})\" stroke=\"#333\"/>\n\
             <text x=\"40\" y=\"{base}\" fill=\"#333\">{index} {}</text>\n",
            escape(name)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_colour_index_and_name() {
        let class = |name: &str, colour| CheckpointClass { name: name.into(), colour };
        let svg = legend(&[class("sky", [128, 128, 255]), class("a < b", [0, 0, 0])]);
        for part in ["rgb(128,128,255)", ">0 sky<", "rgb(0,0,0)", ">1 a &lt; b<", "</svg>"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }
}
