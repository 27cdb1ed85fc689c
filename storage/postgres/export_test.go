package postgres

// Prepare is what every new connection goes through.
var Prepare = prepare
