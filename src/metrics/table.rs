//! The one table of metrics: name, kind, help and labels of everything that the process counts.
//!
//! Each enum below is a *scope*: its variants are the cells of one kind of bank (`counters`), and
//! its families say how those cells are exposed. Every exposed name starts with
//! [`PREFIX`], and each name is written once. What the scope adds as labels (`worker`, `pool`,
//! `node`) is the exposition's business.

/// What every exposed name of ours starts with.
pub const PREFIX: &str = "twinring_";

/// How a cell is summed over workers and exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; summed.
    Counter,
    /// Goes up and down; summed.
    Gauge,
    /// 0 or 1; 1 only if every worker says so.
    Flag,
    /// Microseconds since the epoch; the latest of all workers, exposed as seconds.
    Timestamp,
    /// Milliseconds on the bank's own clock; exposed as the seconds that have passed since.
    Age,
}

/// One exposed name and the cells behind it.
#[derive(Debug)]
pub struct Family<M: 'static> {
    /// The exposed name without [`PREFIX`].
    pub name: &'static str,
    /// How it is summed and exposed.
    pub kind: Kind,
    /// One sentence for whoever reads the exposition.
    pub help: &'static str,
    /// The label that tells the members apart; empty if there is one member only.
    pub label: &'static str,
    /// The cells, each with its value of `label`.
    pub members: &'static [(M, &'static str)],
}

/// The name and help of what is no cell: a latency histogram, in seconds, or what labels alone say.
#[derive(Debug)]
pub struct Latency {
    /// The exposed name without [`PREFIX`].
    pub name: &'static str,
    /// One sentence for whoever reads the exposition.
    pub help: &'static str,
}

/// [`PoolMetrics`](crate::metrics::PoolMetrics)' histograms, label `class`.
pub const REQUEST_DURATION: Latency = Latency {
    name: "request_duration_seconds",
    help: "Time from a request's last byte read to its reply's last byte queued.",
};

/// [`PoolMetrics`](crate::metrics::PoolMetrics)' histogram of what the near cache serves.
pub(crate) const NEAR_CACHE_AGE: Latency = Latency {
    name: "near_cache_age_seconds",
    help: "Time since a value that the near cache serves was asked of its server.",
};

/// [`PoolMetrics`](crate::metrics::PoolMetrics)' histogram of operations that waited.
pub const EXPANSION_PARKED: Latency = Latency {
    name: "expansion_parked_seconds",
    help: "Time that operations on keys that move have waited in phase fence.",
};

/// [`ServerMetrics`](crate::metrics::ServerMetrics)' histogram.
pub const BACKEND_REQUEST_DURATION: Latency = Latency {
    name: "backend_request_duration_seconds",
    help: "Time from a request's queueing for a server to its whole reply.",
};

/// [`TopologyMetrics`](crate::metrics::TopologyMetrics)' rings, labels `ring`, `digest`, `epoch`.
pub const RING_INFO: Latency = Latency {
    name: "ring_info",
    help: "The rings in force, by a digest that is the same where keys are placed the same.",
};

/// Upper bounds of the exposed histogram buckets, in nanoseconds: 100 µs to 2.5 s.
pub const LATENCY_BOUNDS: [u64; 14] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
];

/// Writes a scope: the enum, and its families as data.
macro_rules! scope {
    (
        $(#[$doc:meta])* $scope:ident {
            $( $kind:ident $name:literal, $help:literal $(, $label:ident)? {
                $( $variant:ident $(= $value:literal)? ),+ $(,)?
            } )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $scope {
            $( $( #[doc = concat!("`", $name, $(" ", $value,)? "`: ", $help)] $variant, )+ )+
        }

        impl $scope {
            /// How every cell of the scope is exposed.
            pub const FAMILIES: &'static [Family<Self>] = &[
                $( Family {
                    name: $name,
                    kind: Kind::$kind,
                    help: $help,
                    label: concat!($(stringify!($label))?),
                    members: &[ $( (Self::$variant, concat!($($value)?)) ),+ ],
                } ),+
            ];

            /// How the cell is summed and exposed.
            pub fn kind(self) -> Kind {
                match self {
                    $( $( Self::$variant )|+ => Kind::$kind, )+
                }
            }

            /// Cells of the scope.
            pub const COUNT: usize = [ $( $( Self::$variant ),+ ),+ ].len();
        }
    };
}

scope! {
    /// Cells of one worker; label `worker`.
    WorkerMetric {
        Gauge "worker_connections",
            "Client connections that the worker owns." { Connections }
        Age "worker_heartbeat_age_seconds",
            "Time since the worker's loop last turned." { Heartbeat }
        Counter "worker_turns_total",
            "Turns of the worker's loop." { Turns }
        Gauge "buffer_bytes",
            "Bytes held in the buffers of sessions and connections." { BufferBytes }
        Counter "paused_reads_total",
            "Times that a client was no longer read from, a limit being reached." { PausedReads }
    }
}

scope! {
    /// Cells of one pool on one worker; label `pool`.
    PoolMetric {
        Gauge "client_connections",
            "Client connections now." { ClientConnections }
        Counter "client_connections_total",
            "Client connections taken over from the listener." { ClientConnectionsTotal }
        Counter "client_disconnects_total",
            "Client connections closed, by reason.", reason {
            DisconnectEof = "eof",
            DisconnectReset = "reset",
            DisconnectTimeout = "timeout",
            DisconnectSlowReader = "slow_reader",
            DisconnectProtocol = "protocol",
            DisconnectLimit = "limit",
            DisconnectShutdown = "shutdown",
        }
        Counter "client_eof_total",
            "Client connections that the client ended, as twemproxy counts them." { ClientEof }
        Counter "client_errors_total",
            "Client connections that an error ended, as twemproxy counts them." { ClientErr }
        Counter "requests_total",
            "Requests of clients, by class.", class {
            RequestsRead = "read",
            RequestsWrite = "write",
            RequestsOther = "other",
        }
        Counter "request_bytes_total",
            "Bytes of requests read from clients." { RequestBytes }
        Counter "response_bytes_total",
            "Bytes of replies written to clients." { ResponseBytes }
        Counter "lookups_total",
            "Keys asked for by reads, by result.", result { Hits = "hit", Misses = "miss" }
        Counter "cache_operations_total",
            "What commands did to stored items, lookups aside, by operation and result.", operation {
            CacheSets = "set",
            CacheFlushes = "flush",
            CacheMetas = "meta",
            TouchHits = "touch_hit",
            TouchMisses = "touch_miss",
            DeleteHits = "delete_hit",
            DeleteMisses = "delete_miss",
            IncrHits = "incr_hit",
            IncrMisses = "incr_miss",
            DecrHits = "decr_hit",
            DecrMisses = "decr_miss",
            CasHits = "cas_hit",
            CasMisses = "cas_miss",
            CasMismatches = "cas_mismatch",
            StoresTooLarge = "too_large",
            StoresNoMemory = "no_memory",
        }
        Counter "forward_errors_total",
            "Error replies made for clients, as twemproxy counts them." { ForwardErrors }
        Counter "request_errors_total",
            "Requests answered with an error of ours, by reason.", reason {
            ErrorTimeout = "timeout",
            ErrorConnect = "connect",
            ErrorReset = "reset",
            ErrorParse = "parse",
            ErrorDepth = "depth",
            ErrorNoBackend = "no_backend",
            ErrorOversize = "oversize",
            ErrorUnsupported = "unsupported",
            ErrorAuth = "auth",
            ErrorKey = "key",
        }
        Counter "fragments_total",
            "Requests to servers that are parts of split requests." { Fragments }
        Counter "expansion_fallbacks_total",
            "Questions to the old server of a key that moves, the new one having nothing, by result.",
            result { FallbackHits = "hit", FallbackMisses = "miss" }
        Counter "expansion_fills_total",
            "Copies from the old to the new server of a key that moves, by result.",
            result { FillsWon = "won", FillsLost = "lost" }
        Counter "expansion_old_delete_failures_total",
            "Operations given up since the old copy of a key that moves could not be deleted." {
            OldDeleteFailures
        }
        Counter "expansion_self_fenced_total",
            "Operations on keys that move ended since ZooKeeper was out of sight." { SelfFenced }
        Counter "expansion_moves_total",
            "Keys of Redis that a server was told to hand over to the other, by what came of it.",
            result {
                KeysMoved = "moved", KeysAbsent = "absent", KeysDropped = "dropped",
                KeysUnmoved = "failed"
            }
        Counter "expansion_split_brain_total",
            "Keys of Redis that both servers had: the one that serves kept its own." { SplitBrain }
        Counter "expansion_swept_keys_total",
            "Keys of Redis that were looked at without being asked for, and those of them moved.",
            what { KeysSeen = "seen", KeysSwept = "moved" }
        Gauge "expansion_clean_scans",
            "Scans in a row that have found no key to move, of the server with the fewest." {
            CleanScans
        }
        Gauge "expansion_operations",
            "Operations on keys that move under way." { Expanding }
        Counter "node_ejections_total",
            "Servers taken off the pool's ring." { ServerEjects }
        Counter "retries_total",
            "Reads sent again on a fresh connection." { Retries }
        Counter "near_cache_requests_total",
            "Keys looked for in the near cache, by what came of it.", result {
            NearHits = "hit",
            NearMisses = "miss",
            NearBusy = "write_under_way",
            NearLapsed = "lease_lapsed",
            NearUnfit = "other_kind",
            NearUncovered = "not_covered",
            NearSpared = "spared",
            NearMoving = "moving",
        }
        Counter "near_cache_joined_total",
            "Requests that waited for a fill that was under way." { NearJoined }
        Counter "near_cache_fills_total",
            "Fills of the near cache, by what came of them.", result {
            FillsStored = "stored",
            FillsRenewed = "renewed",
            FillsRaced = "race",
            FillsTooBig = "too_big",
            FillsFull = "full",
            FillsUnfit = "unfit",
            FillsPaused = "paused",
            FillsFailed = "failed",
        }
        Counter "near_cache_invalidations_total",
            "Keys that the near cache has forgotten because they changed, by who said so.", source {
            NearWrites = "write",
            NearPushes = "push",
        }
        Counter "near_cache_verified_total",
            "Hits that were compared with their server, by result; stale must not be.", result {
            VerifiedSame = "same",
            VerifiedChanged = "changed",
            VerifiedStale = "stale",
        }
        Counter "near_cache_epochs_total",
            "Connections whose end took all that was filled over them along." { NearEpochs }
        Counter "near_cache_tracking_refused_total",
            "Times that a server would not tell of changes." { TrackingRefused }
        Flag "near_cache_coherent",
            "1 unless a server that should tell of changes does not now." { NearCoherent }
    }
}

scope! {
    /// Cells of one server of one pool on one worker; labels `pool`, `node`.
    ServerMetric {
        Gauge "backend_connections",
            "Connections to the server now." { Connections }
        Gauge "backend_dedicated_connections",
            "Those of them that single sessions have for themselves." { Dedicated }
        Counter "backend_connects_total",
            "Connection attempts finished, by result.", result {
            ConnectsOk = "ok",
            ConnectsFailed = "failed",
        }
        Counter "backend_closes_total",
            "Server connections closed by a failure, by cause, as twemproxy counts them.", cause {
            Eof = "eof",
            Err = "error",
            TimedOut = "timeout",
        }
        Counter "backend_failures_total",
            "Failures of the server, by reason.", reason {
            FailTimeout = "timeout",
            FailRefused = "refused",
            FailReset = "reset",
            FailEof = "eof",
            FailParsing = "parsing",
            FailTrailingData = "trailingdata",
            FailUnhandled = "unhandled",
            FailOversize = "oversize",
            FailAuth = "auth",
            FailTls = "tls",
            FailBadValidate = "badvalidate",
        }
        Counter "backend_requests_total",
            "Requests sent to the server, parts of split ones included." { Requests }
        Counter "backend_request_bytes_total",
            "Bytes of requests sent to the server." { RequestBytes }
        Counter "backend_responses_total",
            "Replies of the server." { Responses }
        Counter "backend_response_bytes_total",
            "Bytes of replies of the server." { ResponseBytes }
        Counter "backend_error_replies_total",
            "Replies of the server that are errors." { ErrorReplies }
        Gauge "backend_queue_depth",
            "Requests waiting to be written to the server." { InQueue }
        Gauge "backend_queue_bytes",
            "Bytes of requests waiting to be written to the server." { InQueueBytes }
        Gauge "backend_inflight",
            "Requests written to the server and not yet answered." { OutQueue }
        Gauge "backend_inflight_bytes",
            "Bytes of requests written to the server and not yet answered." { OutQueueBytes }
        Counter "desync_closed_total",
            "Server connections closed because a reply could not be attributed." { DesyncClosed }
        Flag "node_up",
            "1 unless the server is held to be down." { Up }
        Timestamp "node_last_ejection_timestamp_seconds",
            "When the server was last taken off the ring; 0 if never." { EjectedAt }
    }
}

scope! {
    /// Cells of one store of items, which the admin thread keeps; label `store`.
    StoreMetric {
        Gauge "store_items",
            "Items stored now, some of which may have expired." { Items }
        Gauge "store_bytes",
            "Bytes of their keys and values." { Bytes }
        Gauge "store_memory_bytes",
            "Bytes of memory taken for items and index." { Memory }
        Gauge "store_memory_limit_bytes",
            "Bytes of memory that items and index may take." { MemoryLimit }
        Counter "store_stored_total",
            "Items stored." { Stored }
        Counter "store_evicted_total",
            "Items removed to make room." { Evicted }
        Counter "store_expired_total",
            "Items removed because their time had come." { Expired }
        Gauge "store_tracking_clients",
            "Clients that are told when what they have read changes." { TrackingClients }
        Gauge "store_tracked_keys",
            "Keys whose next change some client is told of." { TrackedKeys }
        Counter "store_invalidations_total",
            "Changes that clients have been told of, each counted for each client." { Invalidations }
    }
}

scope! {
    /// Cells of one pool whose servers come from elsewhere, which the admin thread keeps; label
    /// `pool`.
    TopologyMetric {
        Gauge "topology_epoch",
            "Epoch of the topology that is followed, or the source's last transaction in it." { Epoch }
        Gauge "topology_age_seconds",
            "Time since the source last confirmed the topology that is followed." { Age }
        Gauge "topology_source",
            "1 for what the servers come from now.", state {
            Live = "live",
            Snapshot = "snapshot",
            Fallback = "fallback",
            NoSource = "none",
        }
        Gauge "zk_session_state",
            "1 while the session with ZooKeeper is connected." { Session }
        Counter "zk_session_expirations_total",
            "Sessions with ZooKeeper that have expired." { Expirations }
        Counter "topology_applied_total",
            "Topologies that have been put in force." { Applied }
        Counter "topology_rejected_total",
            "Readings of the source that were refused, by reason.", reason {
            RejectedEmpty = "empty",
            RejectedShrink = "shrink",
            RejectedDecode = "decode",
            RejectedEpoch = "epoch",
            RejectedDup = "dup",
            RejectedDeleted = "deleted",
            RejectedRing = "ring",
            RejectedCommit = "commit",
            RejectedApply = "apply",
            RejectedPhase = "phase",
        }
        Counter "topology_bad_members_total",
            "Readings of members that could not be understood and kept what they were." { BadMembers }
        Counter "topology_changes_suppressed_total",
            "Changes of members that came to nothing for want of a commit or of time." { Suppressed }
        Gauge "topology_phase",
            "1 for the phase of the topology that is followed.", phase {
            PhaseStable = "stable",
            PhasePrepare = "prepare",
            PhaseFence = "fence",
            PhaseWarm = "warm",
            PhaseDrain = "drain",
            PhaseNew = "new",
        }
        Gauge "topology_proxies_behind",
            "Proxies in ZooKeeper that have not acknowledged the active version; as last seen." { Behind }
        Gauge "topology_self_fenced",
            "1 while keys that move are not acted on since ZooKeeper is out of sight." { SelfFenced }
        Counter "topology_snapshot_errors_total",
            "Snapshots that could not be written, or were not what was written." { SnapshotErrors }
    }
}

scope! {
    /// Cells of the listener thread; no label.
    ListenerMetric {
        Counter "accepted_total",
            "Client connections accepted, rejected ones included." { Accepted }
        Counter "client_connections_rejected_total",
            "Client connections closed right after accept, by reason.", reason {
            RejectedMax = "max",
            RejectedFd = "fd",
            RejectedDraining = "draining",
        }
        Counter "tls_handshakes_total",
            "TLS handshakes with clients, by result.", result {
            TlsOk = "ok",
            TlsFailed = "failed",
            TlsTimedOut = "timeout",
        }
        Gauge "accept_paused",
            "Listeners that accept nobody until descriptors are free again." { AcceptPaused }
    }
}

scope! {
    /// Cells of the resolver's threads; no label.
    ResolverMetric {
        Counter "dns_lookups_total",
            "Look-ups of servers' names that have ended." { LookUps }
        Counter "dns_failures_total",
            "Look-ups of servers' names that found nothing." { Failures }
    }
}

scope! {
    /// Cells of the admin thread; no label.
    AdminMetric {
        Counter "log_dropped_total",
            "Log lines dropped because the log was not written fast enough." { LogDropped }
        Counter "admin_requests_total",
            "Requests answered on the admin listener." { HttpRequests }
        Counter "reloads_total",
            "Readings of the configuration by a running process, by result.", result {
            ReloadsOk = "ok",
            ReloadsRefused = "refused",
        }
        Timestamp "config_last_reload_timestamp_seconds",
            "When the configuration was last read and put in force." { ConfigTime }
    }
}
