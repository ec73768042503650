//! What the tests of the Azure backends stand on: Azurite, the emulator of Azure Storage, and a proxy between it and
//! its client that fails on purpose.
//!
//! Nothing here knows the product's code. Azurite is brought by `cargo xtask setup`; each program of tests starts one
//! of its own on a free port, with everything in memory, and it ends with that program, however that ends.

pub mod blobs;
pub mod emulator;
pub mod proxy;
