# What a test of Redis or Valkey says about the server alone goes past the proxy to the server: its
# settings and figures, and what it prepares there. Read behind support/redis.tcl, or valkey.tcl.
#
# PROXY and SERVER in the environment are the two ports.
set beside_client [expr {[namespace exists ::valkey] ? "valkey" : "redis"}]

namespace eval ::$beside_client {
    variable beside {
        ACL BGREWRITEAOF BGSAVE COMMANDLOG CONFIG DEBUG INFO LASTSAVE LATENCY MODULE MONITOR MOVE SAVE SELECT
        SLOWLOG SWAPDB
    }
    variable client [namespace tail [namespace current]]

    rename __dispatch__raw__ __through__

    proc __dispatch__raw__ {id method argv} {
        variable addr; variable blocking; variable deferred
        variable beside; variable client; variable server
        set alone [lsearch $beside [string toupper $method]]
        set plain [expr {$blocking($id) && !$deferred($id)}]
        if {$alone < 0 || !$plain || [lindex $addr($id) 1] != $::env(PROXY)} {
            return [uplevel 1 [list [namespace current]::__through__ $id $method $argv]]
        }
        if {![info exists server]} {
            set server [$client 127.0.0.1 $::env(SERVER)]
        }
        $server $method {*}$argv
    }
}
