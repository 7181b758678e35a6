//! Tables in CSV files.

use crate::files;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};
use std::path::{Path, PathBuf};

/// Options of [`read_csv`].
#[derive(Clone, Copy, Debug)]
pub struct CsvOptions {
    /// What stands between fields; a comma by default.
    pub delimiter: u8,
    /// Whether the first line has the names of the columns, as by default; else they are `0`, `1`, ….
    pub header: bool,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions { delimiter: b',', header: true }
    }
}

/// Columns of texts, by name.
#[derive(Clone, Debug)]
pub struct Table {
    path: PathBuf,
    names: Vec<String>,
    columns: Vec<Vec<String>>,
    /// The line of the file of each row.
    lines: Vec<u64>,
}

/// Reads a CSV file; fields may be quoted. A file that ends in `.gz` is unpacked.
///
/// ```no_run
/// use igneous::data::read_csv;
/// use igneous::default;
/// let iris = read_csv("iris.csv", default())?;
/// let x = iris.numbers(&["sepal_length", "petal_length"])?; // f32[150, 2]
/// let (y, names) = iris.classes("species")?; // i64[150], and what the numbers mean
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If the file is missing, is no UTF-8, or a line has fewer or more fields than the first; the message names file and line.
#[track_caller]
pub fn read_csv(path: impl AsRef<Path>, options: CsvOptions) -> Result<Table> {
    let (loc, path) = (here(), path.as_ref());
    let parsed =
        files::read_unpacked(path).and_then(|bytes| parse(path, &bytes, options).map_err(|e| files::cannot_read(path, e)));
    parsed.map_err(|e| e.at(loc))
}

fn parse(path: &Path, bytes: &[u8], options: CsvOptions) -> Result<Table> {
    let mut reader = csv::ReaderBuilder::new().delimiter(options.delimiter).has_headers(options.header).from_reader(bytes);
    let mut names: Vec<String> = match options.header {
        true => reader.headers().map_err(Error::other)?.iter().map(|name| name.trim().to_owned()).collect(),
        false => Vec::new(),
    };
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(Error::other)?;
        if names.is_empty() {
            names = (0..record.len()).map(|i| i.to_string()).collect();
            columns = vec![Vec::new(); names.len()];
        }
        for (column, field) in columns.iter_mut().zip(&record) {
            column.push(field.to_owned());
        }
        lines.push(record.position().map_or(0, |position| line(bytes, position)));
    }
    Ok(Table { path: path.to_owned(), names, columns, lines })
}

/// The line at which a record begins: empty ones before it belong to its position.
fn line(bytes: &[u8], position: &csv::Position) -> u64 {
    let rest = bytes.get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

impl Table {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The fields of a column.
    ///
    /// # Errors
    /// If there is no such column; the message lists those that there are.
    #[track_caller]
    pub fn texts(&self, name: &str) -> Result<&[String]> {
        let found = self.names.iter().position(|own| own == name).map(|i| &self.columns[i][..]);
        found.ok_or_else(|| {
            let error = Error::new(format!("{} has no column `{name}`", self.path.display()));
            error.note("columns", self.names.join(", ")).at(here())
        })
    }

    /// Columns of numbers, `f32[rows, columns]`.
    ///
    /// # Errors
    /// If there is no such column, or a field is no number; the message names file, line and column.
    #[track_caller]
    pub fn numbers(&self, names: &[&str]) -> Result<Tensor> {
        let mut columns = Vec::new();
        for name in names {
            columns.push(self.texts(name)?);
        }
        let mut numbers = Vec::with_capacity(self.len() * names.len());
        for row in 0..self.len() {
            for (column, name) in columns.iter().zip(names) {
                let field = column[row].trim();
                let number = field.parse::<f32>();
                numbers.push(number.map_err(|_| {
                    let place = format!("{}, line {}", self.path.display(), self.lines[row]);
                    Error::new(format!("{place}: the field `{field}` of column `{name}` is no number")).at(here())
                })?);
            }
        }
        let tensor = Tensor::from_vec(numbers, (self.len(), names.len()));
        tensor.check().map(|()| tensor)
    }

    /// The classes of a column, `i64[rows]`, and their names, sorted: class `i` is called `names[i]`.
    ///
    /// # Errors
    /// If there is no such column.
    #[track_caller]
    pub fn classes(&self, name: &str) -> Result<(Tensor, Vec<String>)> {
        let column = self.texts(name)?;
        let mut classes = column.to_vec();
        classes.sort_unstable();
        classes.dedup();
        // Each field is one of the classes made from them.
        let number = |field: &String| classes.partition_point(|class| class < field) as i64;
        let numbers = Tensor::from_vec(column.iter().map(number).collect(), column.len());
        Ok((numbers, classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_tensors() {
        let path = std::env::temp_dir().join(format!("igneous-{}-table.csv", std::process::id()));
        std::fs::write(&path, "a, b,kind\n1,2.5,x\n-3, 1e2,\"y, z\"\n0,0,x\n").unwrap();
        let table = read_csv(&path, CsvOptions::default()).unwrap();
        assert_eq!((table.len(), table.names()), (3, &["a".to_owned(), "b".to_owned(), "kind".to_owned()][..]));
        assert_eq!(table.numbers(&["b", "a"]).unwrap().to_vec::<f32>().unwrap(), [2.5, 1.0, 100.0, -3.0, 0.0, 0.0]);
        let (classes, names) = table.classes("kind").unwrap();
        assert_eq!((classes.to_vec::<i64>().unwrap(), names), (vec![0, 1, 0], vec!["x".to_owned(), "y, z".to_owned()]));
        let told = table.numbers(&["kind"]).unwrap_err().to_string();
        assert!(told.contains("table.csv, line 2") && told.contains("`x` of column `kind`"), "{told}");
        assert!(table.texts("c").unwrap_err().to_string().contains("a, b, kind"));
        std::fs::write(&path, "a\n1\n\n\"2\n3\"\n\n4x\n").unwrap();
        let gap = read_csv(&path, CsvOptions::default()).unwrap();
        let told = gap.numbers(&["a"]).unwrap_err().to_string();
        assert!(told.contains("line 4") && gap.lines == [2, 4, 7], "{told} {:?}", gap.lines);
        std::fs::write(&path, "1;2\n3\n").unwrap();
        let plain = CsvOptions { delimiter: b';', header: false };
        let told = read_csv(&path, plain).unwrap_err().to_string();
        assert!(told.contains("table.csv") && told.contains("line: 2"), "{told}");
        std::fs::write(&path, "1;2\n3;4\n").unwrap();
        assert_eq!(read_csv(&path, plain).unwrap().numbers(&["1"]).unwrap().to_vec::<f32>().unwrap(), [2.0, 4.0]);
        std::fs::remove_file(&path).unwrap();
        assert!(read_csv(&path, plain).is_err());
    }
}
