package config

import "time"

// The limits of the front door that are not settings: no installation has needed other values.
const (
	SMTPDOtherCommands   = 1000            // between messages, other than MAIL, RCPT and DATA
	SMTPDHeaderPeek      = 128 * KiB       // of the header that is read into memory and looked at
	SMTPDOwnReceived     = 5               // Received fields of our own that mean a loop
	SMTPDContentIdle     = 3 * time.Minute // for each read of content (RFC 5321, 4.5.3.2.5)
	SMTPDDataGrace       = time.Minute     // before smtpd.min_data_rate counts
	SMTPDHandshake       = 30 * time.Second
	SMTPDWriteTimeout    = time.Minute
	SMTPDAuthFailureWait = time.Second // before a failed AUTH is answered
)
