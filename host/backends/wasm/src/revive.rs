//! The one place of this project where the compiler's word is not enough.
//!
//! Compiled code is machine code: whoever chooses it runs in the host. [`Trusted`] can only be made of code that this
//! host's own compiler has just made, or that the cache found with this host's own seal on it, so the crate's one
//! `unsafe` rests on those two constructors and on nothing outside of them.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Compiled code that this host made itself.
pub(crate) struct Trusted(Vec<u8>);

impl Trusted {
    /// Code that has just come from this host's compiler.
    pub(crate) fn made(code: Vec<u8>) -> Self {
        Self(code)
    }

    /// Code whose seal has been checked: this host made it earlier.
    pub(crate) fn sealed(code: Vec<u8>) -> Self {
        Self(code)
    }

    /// The bytes, to be kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes a component of it.
    ///
    /// # Errors
    /// It was made for another engine: another version, other settings, another processor.
    #[expect(
        unsafe_code,
        reason = "wasmtime cannot tell its own compiled code from a forgery; the type can"
    )]
    pub(crate) fn revive(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are the unchanged output of `Engine::precompile_component`: fresh from the compiler, or
        // authenticated by a key that only this host has. wasmtime itself refuses code of another version or settings.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
