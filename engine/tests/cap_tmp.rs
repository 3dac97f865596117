#[path = "../../tests/simulation/capacity/mod.rs"]
mod capacity;
