//! Calendars, pools and namespaces: declared, counted, and used.

use crate::command::{Effect, Outcome, Rejection, Retimed};
use crate::definition::Definition;
use crate::ids::{ObjectId, Revision, ScheduleId, ScheduleKey, UnixMillis};
use crate::object::{Calendar, Declared, Namespace, Object, ObjectKind, ObjectName, Pool};
use crate::state::{BlockId, State};

impl State {
    /// Makes an object or replaces it.
    pub(super) fn put_object(
        &mut self,
        now: UnixMillis,
        declared: Declared,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let name = declared.name();
        let revision = Revision(self.at.index);
        let current = self.object_ids.get(&name).copied();
        let found = current.and_then(|id| self.objects.get(&id));
        check_object_revision(&name, found, expected)?;
        if let Some(found) = found
            && found.kind == ObjectKind::from(declared.clone())
        {
            return Ok(Outcome::Object(Box::new(found.clone())));
        }
        if let ObjectName::Calendar(key) = &name {
            // Instants that have come follow the calendar as it was.
            self.users_caught_up(key, now)?;
        }
        let id = current.unwrap_or_else(|| self.next_object_id());
        let object = Object { id, revision, updated_at: now, kind: declared.into() };
        self.touch(BlockId::of_object(id));
        self.object_ids.insert(name.clone(), id);
        self.objects.insert(id, object.clone());
        self.declared_revision = revision;
        if let ObjectName::Calendar(key) = &name {
            let users = self.calendar_users.get(key).cloned().unwrap_or_default();
            self.stale.extend(users);
        }
        Ok(Outcome::Object(Box::new(object)))
    }

    /// Removes an object that nothing refers to.
    pub(super) fn delete_object(
        &mut self,
        name: ObjectName,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let object = self.deletable(&name, expected)?.clone();
        self.object_ids.remove(&name);
        self.objects.remove(&object.id);
        self.declared_revision = Revision(self.at.index);
        self.touch(BlockId::of_object(object.id));
        Ok(Outcome::Object(Box::new(object)))
    }

    /// The object of a name, if it may be deleted.
    pub fn deletable(&self, name: &ObjectName, expected: Option<Revision>) -> Result<&Object, Rejection> {
        let found = self.object(name).ok_or_else(|| Rejection::ObjectNotFound { name: name.clone() })?;
        check_object_revision(name, Some(found), expected)?;
        if let ObjectName::Calendar(key) = name
            && let Some(user) = self.calendar_users.get(key).and_then(|users| users.first())
        {
            let by = self.slots[user].schedule.key.clone();
            return Err(Rejection::ObjectInUse { name: name.clone(), by });
        }
        Ok(found)
    }

    pub(super) fn next_object_id(&mut self) -> ObjectId {
        // From 1, so that 0 can mean "none" where it is stored.
        self.totals_mut().next_object += 1;
        ObjectId(self.totals.next_object)
    }

    fn users_caught_up(&self, calendar: &ScheduleKey, now: UnixMillis) -> Result<(), Rejection> {
        let users = self.calendar_users.get(calendar).into_iter().flatten();
        for user in users {
            self.caught_up(*user, now)?;
        }
        Ok(())
    }

    // ---- schedules that use calendars

    /// Refuses a definition whose calendars do not exist.
    pub(super) fn check_calendars(
        &self,
        namespace: &ScheduleKey,
        definition: &Definition,
    ) -> Result<(), Rejection> {
        for used in &definition.timing.calendars {
            let name =
                ObjectName::Calendar(ScheduleKey::new(namespace.namespace.clone(), used.calendar.as_str()));
            if !self.object_ids.contains_key(&name) {
                return Err(Rejection::ObjectNotFound { name });
            }
        }
        Ok(())
    }

    /// Notes which calendars a schedule uses, and whether its next instant was computed with them as they are.
    pub(super) fn watch_calendars(&mut self, id: ScheduleId) {
        let schedule = &self.slots[&id].schedule;
        let keys: Vec<_> = calendar_keys(&schedule.key, &schedule.definition).collect();
        for key in keys {
            self.calendar_users.entry(key).or_default().insert(id);
        }
        if self.calendars_revision(id) == self.slots[&id].schedule.timed_with {
            self.stale.remove(&id);
        } else {
            self.stale.insert(id);
        }
    }

    pub(super) fn unwatch_calendars(&mut self, id: ScheduleId) {
        let schedule = &self.slots[&id].schedule;
        let keys: Vec<_> = calendar_keys(&schedule.key, &schedule.definition).collect();
        for key in keys {
            if let Some(users) = self.calendar_users.get_mut(&key) {
                users.remove(&id);
                if users.is_empty() {
                    self.calendar_users.remove(&key);
                }
            }
        }
        self.stale.remove(&id);
    }

    /// The revision of the calendar that changed last of those that a schedule uses; 0 if it uses none.
    pub fn calendars_revision(&self, id: ScheduleId) -> Revision {
        let Some(schedule) = self.schedule(id) else { return Revision::default() };
        let keys = calendar_keys(&schedule.key, &schedule.definition);
        let objects = keys.filter_map(|key| self.object(&ObjectName::Calendar(key)));
        objects.map(|object| object.revision).max().unwrap_or_default()
    }

    /// Moves the next instants of schedules whose calendars changed.
    pub(super) fn retime_stale(
        &mut self,
        now: UnixMillis,
        retimed: Vec<Retimed>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut moved = 0;
        for retimed in retimed {
            let id = retimed.schedule;
            let Some(slot) = self.slots.get(&id) else { continue };
            let schedule = &slot.schedule;
            let fits = schedule.generation == retimed.generation
                && schedule.remains().deleted_at.is_none()
                && self.stale.contains(&id)
                && self.calendars_revision(id) == retimed.calendars
                && retimed.next_fire_at.is_none_or(|next| next > schedule.watermark);
            if !fits {
                continue;
            }
            // One that is over by its count is not brought back.
            let next = retimed.next_fire_at.filter(|_| !schedule.is_exhausted());
            moved += u32::from(schedule.next_fire_at != next);
            self.move_next(id, now, next);
            self.slot_mut(id).schedule.timed_with = retimed.calendars;
            self.stale.remove(&id);
            // One that was about to delete itself has waited for this.
            self.settle(id, now, effects);
        }
        Outcome::Retimed(moved)
    }

    /// Schedules whose calendars changed since their next instant was computed.
    pub fn stale(&self) -> impl Iterator<Item = ScheduleId> + '_ {
        self.stale.iter().copied()
    }

    // ---- what others may read

    /// Rises with every change of a calendar, pool or namespace.
    pub fn declared_revision(&self) -> Revision {
        self.declared_revision
    }

    /// The object of a name.
    pub fn object(&self, name: &ObjectName) -> Option<&Object> {
        self.object_ids.get(name).and_then(|id| self.objects.get(id))
    }

    /// Objects in order of name, from `from` on.
    pub fn objects_from<'a>(&'a self, from: &ObjectName) -> impl Iterator<Item = &'a Object> + 'a {
        self.object_ids.range(from.clone()..).filter_map(|(_, id)| self.objects.get(id))
    }

    /// A calendar, with the instant of its last change.
    pub fn calendar(&self, key: &ScheduleKey) -> Option<(&Calendar, UnixMillis)> {
        match self.object(&ObjectName::Calendar(key.clone())) {
            Some(Object { kind: ObjectKind::Calendar(calendar), updated_at, .. }) => {
                Some((calendar, *updated_at))
            }
            Some(_) | None => None,
        }
    }

    /// A pool that somebody declared.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        if self.object_ids.is_empty() {
            return None;
        }
        match self.object(&ObjectName::Pool(name.into())) {
            Some(Object { kind: ObjectKind::Pool(pool), .. }) => Some(pool),
            Some(_) | None => None,
        }
    }

    /// A namespace that somebody declared.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        // Asked for every fire: nothing is looked up where nobody declared anything.
        if self.object_ids.is_empty() {
            return None;
        }
        match self.object(&ObjectName::Namespace(name.into())) {
            Some(Object { kind: ObjectKind::Namespace(namespace), .. }) => Some(namespace),
            Some(_) | None => None,
        }
    }

    /// Runs that hold a slot of a pool.
    pub fn running_in_pool(&self, pool: &str) -> u32 {
        self.running_by_pool.get(pool).copied().unwrap_or(0)
    }

    /// Running runs of a namespace.
    pub fn running_in_namespace(&self, namespace: &str) -> u32 {
        self.running_by_namespace.get(namespace).copied().unwrap_or(0)
    }

    /// Schedules of a namespace that are not deleted.
    pub fn schedules_in(&self, namespace: &str) -> u64 {
        self.names.len_in(namespace) as u64
    }

    /// Whether pool and namespace have room for a run: judged inside the log entry, so the limits hold across leaders.
    pub(super) fn has_room(&self, namespace: &str, pool: &str) -> bool {
        if self.object_ids.is_empty() {
            return true;
        }
        let pool_has_room = self.pool(pool).is_none_or(|declared| {
            declared.paused.is_none() && declared.slots.is_none_or(|slots| self.running_in_pool(pool) < slots)
        });
        pool_has_room
            && self
                .namespace(namespace)
                .and_then(|declared| declared.running_max)
                .is_none_or(|max| self.running_in_namespace(namespace) < max)
    }
}

fn calendar_keys<'a>(
    key: &'a ScheduleKey,
    definition: &'a Definition,
) -> impl Iterator<Item = ScheduleKey> + 'a {
    let calendars = definition.timing.calendars.iter();
    calendars.map(|used| ScheduleKey::new(key.namespace.clone(), used.calendar.as_str()))
}

fn check_object_revision(
    name: &ObjectName,
    found: Option<&Object>,
    expected: Option<Revision>,
) -> Result<(), Rejection> {
    match (found, expected) {
        (_, None) => Ok(()),
        (None, Some(_)) => Err(Rejection::ObjectNotFound { name: name.clone() }),
        (Some(found), Some(expected)) if found.revision == expected => Ok(()),
        (Some(found), Some(_)) => {
            Err(Rejection::ObjectRevisionMismatch { name: name.clone(), current: found.revision })
        }
    }
}
