//! A ZStack management node, scripted: it posts what the real one posts, in its order, and hears answers at its callback.
//! Whatever it was told is proven by packets.

mod bring_up;
mod doors;
mod lives;
mod merges;
mod node;
mod octets;
mod scene;
