//! The operating system of the simulation, as the processor sees it.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::link::Link;
use super::network::State;
use super::{Network, SimSocket};
use crate::processor::{Readiness, Selector, Told};

/// The [`Selector`] of a [`Network`]: it keeps that trait's contract, and uses every liberty that the contract leaves.
///
/// It reports readiness in any order and not always all at once, sometimes for nothing, and only at its edges.
#[derive(Debug)]
pub struct SimSelector {
    network: Network,
    number: usize,
    /// This is one of several processors, so time passes elsewhere, between two calls.
    in_turn: bool,
    /// The result of the previous report.
    told: Told,
}

impl SimSelector {
    /// The selector of `network`.
    pub fn new(network: Network) -> Self {
        Self { network, number: 0, in_turn: false, told: Told::All }
    }

    /// The selector of one of several processors. It never sleeps: the code that steps the processors does so on its
    /// behalf.
    pub(super) fn in_turn(network: Network, number: usize) -> Self {
        Self { network, number, in_turn: true, told: Told::All }
    }

    /// Calls `act` for the socket's link, or reports that the socket is not registered.
    fn registered(&mut self, socket: &SimSocket, act: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.network.lock();
        if state.links[socket.index()].selector() != Some(self.number) {
            state.misuse = Some("a socket was used with the selector that is not registered".into());
            return Err(ErrorKind::NotFound.into());
        }
        state.try_selector(socket.index())?;
        act(&mut state);
        Ok(())
    }

    /// Reports what is ready now; true if that ends the sleep.
    fn report(&mut self, ready: &mut Vec<Readiness>) -> bool {
        let before = ready.len();
        let mut state = self.network.lock();
        let State { links, random, counts, .. } = &mut *state;
        let own = |link: &Link| link.selector() == Some(self.number);
        let has_edge = |index: &usize| own(&links[*index]) && links[*index].has_edge();
        let mut edges: Vec<_> = (0..links.len()).filter(has_edge).collect();
        // As with a real event buffer, some events may have to wait for the next call, and no order is promised.
        self.told = Told::All;
        if edges.len() > 1 && random.chance(200) {
            let drawn = random.below(edges.len());
            edges.swap_remove(drawn);
            self.told = Told::Part;
        }
        if edges.len() > 1 && random.chance(500) {
            edges.reverse();
        }
        ready.extend(edges.iter().filter_map(|index| links[*index].report(random)));
        let told = ready.len() - before;
        for link in links.iter_mut().filter(|link| own(link) && link.weather.spurious > 0) {
            let spurious = link.report_spurious(random);
            counts.spurious += u64::from(spurious.is_some());
            ready.extend(spurious);
        }
        // Readiness that is reported for nothing is no reason to be awake.
        state.happened += told as u64;
        ready.len() > before || std::mem::take(&mut state.beds[self.number].woken)
    }

    /// Moves the clock to whatever comes first; false if that is the end of the sleep.
    fn pass_time(&mut self, until: Option<Duration>) -> bool {
        let mut state = self.network.lock();
        state.sleep_on(self.number);
        match (state.next_at(), until) {
            (Some(next), until) if until.is_none_or(|until| next <= until) => {
                state.now = state.now.max(next);
                true
            }
            (_, Some(until)) => {
                let oversleep_max = state.oversleep_max;
                let late = state.random.duration(oversleep_max);
                state.now = state.now.max(until + late);
                false
            }
            (_, None) => {
                state.beds[self.number].sleep.for_ever = true;
                false
            }
        }
    }
}

impl Selector for SimSelector {
    type Socket = SimSocket;

    fn register_read(&mut self, socket: &mut SimSocket, slot: u32) -> io::Result<()> {
        let mut state = self.network.lock();
        let State { links, misuse, .. } = &mut *state;
        let taken = links.iter().any(|link| link.is_at(self.number, slot));
        let link = &links[socket.index()];
        if link.slot().is_some() || taken {
            *misuse = Some(format!("slot {slot} was registered twice"));
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.try_selector(socket.index())?;
        state.links[socket.index()].register(self.number, slot);
        Ok(())
    }

    fn set_write(&mut self, socket: &mut SimSocket, _slot: u32, on: bool) -> io::Result<()> {
        let index = socket.index();
        self.registered(socket, |state| state.links[index].set_write(on))
    }

    fn shutdown_write(&mut self, socket: &mut SimSocket) -> io::Result<()> {
        let mut state = self.network.lock();
        state.try_selector(socket.index())?;
        state.links[socket.index()].shutdown_write()?;
        state.arrange(socket.index());
        Ok(())
    }

    fn deregister(&mut self, socket: &mut SimSocket) -> io::Result<()> {
        let mut state = self.network.lock();
        let link = &mut state.links[socket.index()];
        if link.slot().is_none() {
            state.misuse = Some("a socket was deregistered that was not registered".into());
            return Err(ErrorKind::NotFound.into());
        }
        link.deregister();
        Ok(())
    }

    fn take_error(&mut self, socket: &mut SimSocket) -> io::Result<Option<io::Error>> {
        let mut state = self.network.lock();
        Ok(state.links[socket.index()].take_error().map(io::Error::from))
    }

    fn unread(&mut self, socket: &mut SimSocket) -> io::Result<u64> {
        Ok(self.network.lock().links[socket.index()].arrived() as u64)
    }

    fn select(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<Told> {
        if !self.in_turn {
            self.network.lock().lie_down(self.number, timeout);
        }
        if self.network.lock().beds[self.number].broken {
            return Err(ErrorKind::InvalidInput.into());
        }
        if self.in_turn {
            self.network.run_due();
            self.report(ready);
            return Ok(self.told);
        }
        if timeout != Some(Duration::ZERO) && self.network.pass_freeze() {
            self.told = Told::All;
            return Ok(Told::All);
        }
        let until = timeout.map(|timeout| self.network.elapsed() + timeout);
        self.network.run_due();
        let mut on = timeout != Some(Duration::ZERO);
        while !self.report(ready) && on {
            on = self.pass_time(until);
            self.network.run_due();
        }
        Ok(self.told)
    }

    fn now(&mut self) -> Instant {
        self.network.now()
    }

    fn unix_seconds(&mut self) -> u64 {
        super::clock::START_UNIX_SECONDS + self.network.elapsed().as_secs()
    }
}
