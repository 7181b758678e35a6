//! How many products and convolutions of a training step libraries take, and how many launches the step has.

use crate::cases::Extent;
use crate::extent;
use crate::models::models;
use igneous::Result;
use igneous_runtime::Program;
use igneous_runtime::program::Work;
use std::fmt;
use std::ops::Add;

/// What is counted.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Products and convolutions in the text of the program.
    products: usize,
    /// Those that a library can take and takes by default.
    by_libraries: usize,
    /// What a step asks of the device.
    launches: i64,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            products: self.products + other.products,
            by_libraries: self.by_libraries + other.by_libraries,
            launches: self.launches + other.launches,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} products by libraries, {} launches", self.by_libraries, self.products, self.launches)
    }
}

impl Counts {
    fn of(program: &Program) -> Counts {
        let of_launch = |launch: &igneous_runtime::program::Launch| {
            let product = ["dot", "conv"].iter().any(|hero| launch.name.starts_with(hero));
            let by_library = |work: &Work| matches!(work, Work::Cuda(work) if work.library.is_some());
            let own = Counts {
                products: usize::from(product),
                by_libraries: usize::from(product && launch.work.iter().any(by_library)),
                launches: 0,
            };
            launch.work.iter().map(Counts::of_work).fold(own, Add::add)
        };
        program.launches.iter().map(of_launch).fold(Counts::default(), Add::add)
    }

    fn of_work(work: &Work) -> Counts {
        let times = |counts: Counts, n: i64| Counts { launches: counts.launches * n, ..counts };
        match work {
            Work::Call(body) => Counts::of(body),
            Work::Scan(scan) => times(Counts::of(&scan.body), scan.steps.as_const().unwrap_or(1)),
            Work::Cond(cond) => Counts::of(&cond.then) + Counts::of(&cond.otherwise),
            Work::While(repeated) => Counts::of(&repeated.condition) + Counts::of(&repeated.body),
            _ => Counts { launches: 1, ..Counts::default() },
        }
    }
}

#[test]
fn libraries_take_the_products_of_steps_in_half_precision() -> Result<()> {
    // The part of the products that libraries take, at least.
    let least = [("resnet in bf16", 0.9), ("gpt in bf16", 1.0)];
    let tried = |name: &str| extent() == Extent::All || least.iter().any(|(tried, _)| *tried == name);
    for (name, program) in models(tried)? {
        let counts = Counts::of(&program);
        println!("{name}: {counts}");
        if let Some((_, least)) = least.iter().find(|(tried, _)| *tried == name) {
            assert!(counts.by_libraries as f64 >= least * counts.products as f64, "{name}: {counts}");
        }
    }
    Ok(())
}
