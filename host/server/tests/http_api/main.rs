//! The HTTP API from a client's side: in-process, with the reference ledger and bus and a plugin that does as the
//! payload says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod budget;
mod callbacks;
mod commands;
mod connections;
mod credentials;
mod dead_letters;
mod documented;
mod documents;
mod gates;
mod host;
mod jobs;
mod operation;
mod registry;
mod requests;
mod scripted;
mod streams;
mod tokens;
