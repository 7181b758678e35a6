//! Plots of curves and points as SVG and PNG, drawn by the library `plotters`.

use crate::image::png;
use igneous::{Error, Loc, Result, files};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

/// Curves and points over common axes.
///
/// ```
/// use igneous_train::Plot;
/// # let path = std::env::temp_dir().join(format!("igneous-{}-doc.svg", std::process::id()));
/// Plot::new("MNIST")
///     .axes("epoch", "loss")
///     .line("training", [(1.0, 0.9), (2.0, 0.4), (3.0, 0.3)])
///     .line("test", [(1.0, 0.8), (2.0, 0.5), (3.0, 0.45)])
///     .save(&path)?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// Points that are not finite are left out, and a line has a gap there.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    axes: [String; 2],
    scale: Scale,
    series: Vec<Series>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Scale {
    Linear,
    /// Ordinates are drawn at their decimal logarithms.
    Logarithmic,
}

#[derive(Clone, Debug)]
struct Series {
    label: String,
    points: Vec<(f64, f64)>,
    joined: Joined,
}

#[derive(Clone, Copy, Debug)]
enum Joined {
    Line,
    Apart,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 540);

/// The font of bitmaps; those of SVG files are the reader's.
static FONT: LazyLock<bool> = LazyLock::new(|| register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).is_ok());

impl Plot {
    /// An empty one with a title.
    pub fn new(title: impl Into<String>) -> Plot {
        Plot { title: title.into(), axes: [String::new(), String::new()], scale: Scale::Linear, series: Vec::new() }
    }

    /// What the axes show: along the bottom and up the side.
    #[must_use]
    pub fn axes(self, x: impl Into<String>, y: impl Into<String>) -> Plot {
        Plot { axes: [x.into(), y.into()], ..self }
    }

    /// With a logarithmic scale up the side; numbers that are not above 0 are left out.
    #[must_use]
    pub fn logarithmic(self) -> Plot {
        Plot { scale: Scale::Logarithmic, ..self }
    }

    /// With a curve through points.
    #[must_use]
    pub fn line(self, label: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Plot {
        self.series(label.into(), points.into_iter().collect(), Joined::Line)
    }

    /// With points that nothing joins.
    #[must_use]
    pub fn points(self, label: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Plot {
        self.series(label.into(), points.into_iter().collect(), Joined::Apart)
    }

    fn series(mut self, label: String, points: Vec<(f64, f64)>, joined: Joined) -> Plot {
        self.series.push(Series { label, points, joined });
        self
    }

    /// Writes the plot; the end of the name, `.svg` or `.png`, says as what. The file is complete or as it was.
    ///
    /// # Errors
    /// If the name ends otherwise, or the file cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (Loc::caller(), path.as_ref());
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let bytes = match extension.as_deref() {
            Some("svg") => self.svg().map(String::into_bytes),
            Some("png") => self.png(),
            _ => Err(Error::new("a plot is written as .svg or .png")),
        };
        let bytes = bytes.map_err(|e| e.context(format_args!("cannot write {}", path.display())).at(loc))?;
        files::write(path, &bytes).map_err(|e| e.at(loc))
    }

    fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, SIZE).into_drawing_area())?;
        Ok(text)
    }

    fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
        let mut pixels = vec![0; 3 * width * height];
        self.draw(BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area())?;
        png(&pixels, 3, height, width).expect("the size is a fixed one").map(|png| png.bytes)
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        if !*FONT {
            return Err(Error::new("the font of plots cannot be read"));
        }
        self.drawn(&area).and_then(|()| area.present()).map_err(Error::other)
    }

    fn drawn<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        let pieces: Vec<Vec<Vec<(f64, f64)>>> = self.series.iter().map(|series| self.pieces(series)).collect();
        let all = || pieces.iter().flatten().flatten();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(range(all().map(|p| p.0), 0.0), range(all().map(|p| p.1), 0.04))?;
        let [x, y] = &self.axes;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(x).y_desc(y).label_style(("sans-serif", 14)).axis_desc_style(("sans-serif", 16)).light_line_style(WHITE);
        match self.scale {
            Scale::Linear => mesh.draw()?,
            Scale::Logarithmic => mesh.y_label_formatter(&|y| format!("{:.2e}", 10f64.powf(*y))).draw()?,
        }
        for (i, (series, pieces)) in self.series.iter().zip(pieces).enumerate() {
            let colour = Palette99::pick(i).to_rgba();
            let mut label = Some(series.label.clone());
            for piece in pieces {
                let drawn = match series.joined {
                    Joined::Line => chart.draw_series(LineSeries::new(piece, colour.stroke_width(2)))?,
                    Joined::Apart => chart.draw_series(piece.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?,
                };
                if let Some(label) = label.take() {
                    let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
                    drawn.label(label).legend(key);
                }
            }
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font(("sans-serif", 14))
                .draw()?;
        }
        Ok(())
    }

    /// The points as they are drawn, cut where one cannot be.
    fn pieces(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let scaled = |&(x, y): &(f64, f64)| match self.scale {
            Scale::Linear => (x, y),
            Scale::Logarithmic => (x, y.log10()),
        };
        let points: Vec<(f64, f64)> = series.points.iter().map(scaled).collect();
        // Beyond this the arithmetic of axes overflows.
        let can_be = |v: f64| v.abs() < 1e300;
        let pieces = points.split(|&(x, y)| !can_be(x) || !can_be(y));
        pieces.filter(|piece| !piece.is_empty()).map(<[(f64, f64)]>::to_vec).collect()
    }
}

/// The interval that an axis shows: all numbers, and a share of it more on both sides.
fn range(numbers: impl Iterator<Item = f64>, more: f64) -> Range<f64> {
    let (low, high) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| (low.min(n), high.max(n)));
    let width = high - low;
    // No numbers; or numbers too close for ticks between them.
    if low > high {
        return 0.0..1.0;
    }
    if width <= 1e-9 * high.abs().max(1e-9) {
        let around = 0.5 * high.abs().max(1e-6);
        return low - around..high + around;
    }
    low - more * width..high + more * width
}

#[cfg(test)]
mod tests {
    use super::*;
    use igneous::data::read_image;

    fn curve() -> Plot {
        Plot::new("a < b & \"c\"").axes("epoch", "loss").line("one", (1..20).map(|i| (f64::from(i), 1.0 / f64::from(i))))
    }

    #[test]
    fn files_show_titles_and_curves() {
        let svg = curve().points("two", [(3.0, 0.5)]).svg().unwrap();
        for text in ["<svg", "a &lt; b &amp;", "epoch", "loss", "one", "two", "<polyline", "<circle"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert_eq!(svg, curve().points("two", [(3.0, 0.5)]).svg().unwrap(), "the same each time");
        let path = std::env::temp_dir().join(format!("igneous-{}-plot.png", std::process::id()));
        curve().save(&path).unwrap();
        let drawn = read_image(&path).unwrap();
        assert_eq!(drawn.shape(), igneous::Tensor::zeros((3, 540, 900)).shape());
        let share = drawn.lt(0.9).any(0).to_dtype(igneous::DType::F32).mean_all().item().unwrap();
        assert!((0.005..0.3).contains(&share), "a share of {share} is not white");
        std::fs::remove_file(&path).unwrap();
        assert!(curve().save("plot.gif").unwrap_err().to_string().contains("plot.gif"));
        assert!(curve().save(path.join("below.svg")).is_err());
    }

    /// Numbers that no axis can show are left out; what remains is drawn.
    #[test]
    fn extreme_numbers_are_no_error() {
        let gap = curve().line("gap", [(1.0, 0.0), (2.0, f64::NAN), (3.0, 1.0)]);
        assert_eq!(gap.pieces(&gap.series[1]), [vec![(1.0, 0.0)], vec![(3.0, 1.0)]]);
        let extreme = [0.0, -0.0, 1e-320, 1e308, -1e308, 1e299, f64::MAX, f64::INFINITY, f64::NAN, -5.0];
        for x in extreme {
            for y in extreme {
                let plot = Plot::new("").line("", [(x, y)]).line("", [(x, y), (y, x), (1.0, 1.0)]);
                plot.svg().unwrap();
                plot.logarithmic().svg().unwrap();
            }
        }
        Plot::new("nothing").png().unwrap();
        Plot::new("none").line("", []).svg().unwrap();
    }
}
