//! Who runs over HTTP, in the order in which they take turns.

use super::racer::Racer;
use super::rmcp::{Pool, Rmcp};
use super::volley::Volley;
use super::wrk::Wrk;
use crate::peer::Runtime;

/// Everyone who runs. On one core nobody polls: polling takes the core that the target would need.
pub fn field(one_core: bool) -> Vec<Box<dyn Racer>> {
    let mut all: Vec<Box<dyn Racer>> = vec![Box::new(Wrk), Box::new(Volley { spin: false })];
    if !one_core {
        all.push(Box::new(Volley { spin: true }));
    }
    for pool in [Pool::AsItComes, Pool::Shared, Pool::Each] {
        for runtime in [Runtime::CurrentThread, Runtime::MultiThread] {
            all.push(Box::new(Rmcp { pool, runtime }));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        for one_core in [false, true] {
            let all = field(one_core);
            let names: HashSet<_> = all.iter().map(|racer| racer.name()).collect();
            assert_eq!(names.len(), all.len());
        }
    }
}
