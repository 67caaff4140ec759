# What a test of Redis says about the server alone goes past the proxy to the server: its settings and
# figures, and what it prepares there. Read behind support/redis.tcl.
#
# PROXY and SERVER in the environment are the two ports.
set ::redis::beside {
    ACL BGREWRITEAOF BGSAVE CONFIG DEBUG INFO LASTSAVE LATENCY MODULE MONITOR MOVE SAVE SELECT
    SLOWLOG SWAPDB
}

rename ::redis::__dispatch__raw__ ::redis::__through__

proc ::redis::__dispatch__raw__ {id method argv} {
    set alone [lsearch $::redis::beside [string toupper $method]]
    set plain [expr {$::redis::blocking($id) && !$::redis::deferred($id)}]
    if {$alone < 0 || !$plain || [lindex $::redis::addr($id) 1] != $::env(PROXY)} {
        return [uplevel 1 [list ::redis::__through__ $id $method $argv]]
    }
    if {![info exists ::redis::server]} {
        set ::redis::server [redis 127.0.0.1 $::env(SERVER)]
    }
    $::redis::server $method {*}$argv
}
