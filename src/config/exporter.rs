//! The settings of `kubecost-allocation-exporter`.
