package bounce

// openings are what the mailers without a delivery status begin their reports with; in lower case. They are a
// reason to take a mail for a bounce, not enough of one by themselves.
func openings() []string {
	return []string{
		// qmail, Yahoo
		"qmail-send program", "message from yahoo.com", "sorry, we were unable to deliver",
		// Exim, GMX, Zoho, DragonFly
		"created automatically by mail delivery software", "dragonfly mail agent",
		// Sendmail and what imitates it
		"had permanent fatal errors", "had transient non-fatal errors", "had delivery problems",
		"had delivery errors", "had permanent delivery errors",
		// Exchange, Gmail, Domino, Notes
		"did not reach the following recipient", "delivery has failed to", "delivery to the following",
		"wasn't delivered to", "message not delivered", "was not delivered to", "failure reasons",
		// many
		"could not be delivered", "couldn't be delivered", "cannot be delivered", "undeliverable",
		"unable to deliver", "delivering your message", "delivery failed", "delivery problems",
		"delivery of email to this address", "konnte nicht zugestellt werden", "konnte nicht an",
		"unzustellbar", "n'a pas pu être", "no pudo ser entregado",
	}
}

// subjects are what the subject of a bounce says, in lower case.
func subjects() []string {
	return []string{
		"undeliver", "returned mail", "failure notice", "mail delivery failed", "delivery status",
		"delivery failure", "mail system error", "could not be delivered", "unzustellbar", "delivery report",
		"nondeliverable", "non remis", "delivery failed", "delivery has failed", "message delayed",
		"returned to sender", "returning message", "warning: could not send", "delivery problem",
		"delivery error", "delivery warning", "mail failed", "bounce notification", "nicht zugestellt",
		"não entregue",
	}
}

// sentences are what stands in front of the address, in lower case, with the mailers that do not put it first
// in a line, as qmail, Postfix, Exim, Sendmail and Yahoo do.
func sentences() []string {
	return []string{
		// DragonFly
		"there was an error delivering your mail to ",
		// IMail
		"unknown user: ", "invalid final delivery userid: ", "undeliverable to ", "attempts: ",
		"user mailbox exceeds allowed size: ", "delivery failed: ", "unknown local user: ",
		// Zoho
		"status: error, address: ",
		// Gmail
		"there was a problem delivering your message to ", "your message wasn't delivered to ",
		"message not delivered to ",
		// Exchange Online: "couldn't be delivered"; Sieve: "was automatically rejected"
		"your message to ",
		// Exchange 5.5: the address in one of X.400
		"dda:smtp=",
		// many
		"could not be delivered to: ", "could not be delivered to ", "unable to deliver message to: ",
		"unable to deliver message to ", "unable to deliver mail to ", "deliver your message to ",
		"could not deliver to: ", "undeliverable address: ", "returned permanent errors: ",
		"rejected recipient ", "originally addressed to ", "addressed to: ", "addressed to ",
		"your message was addressed, ", "recipient address: ", "failed recipient: ", "recipient: ",
		"error-for: ", "target mail address: ", "mailbox is full: ", "local mailbox ", "delivery to ",
	}
}

// delays are what a mailer says that goes on trying, in lower case.
func delays() []string {
	return []string{
		"warning message only", "not yet been delivered", "has been delayed", "is delayed", "was delayed",
		"delivery attempts will continue", "will be retried", "will keep trying", "still trying",
		"will continue to try", "has been postponed", "do not need to resend", "temporarily deferred",
		"warning: message still undelivered", "warning: could not send message", "not delivered yet",
		"delivery is being delayed", "message delayed", "delivery delayed",
		"delivery status notification (delay)", "will be attempted again",
	}
}

// finals are what a mailer says that has given up, in lower case. They outweigh what it says of delays.
func finals() []string {
	return []string{
		"permanent error", "permanent fatal", "failed permanently", "permanent failure", "i've given up",
		"giving up on", "no further attempts", "will not be retried", "has been returned",
		"no longer be tried", "will be deleted from queue",
	}
}

// successes are what a mailer says that has delivered or relayed, in lower case.
func successes() []string {
	return []string{
		"was successfully delivered", "successfully delivered to", "has been successfully delivered",
		"successfully relayed", "relayed to non-dsn-aware mailer",
	}
}

// closings are the lines behind the words about a recipient, in lower case.
func closings() []string {
	return []string{
		"no action is required on your part", "if your message was also sent to", "delivery attempts will",
		"for further assistance", "the following recipients did not receive", "please do not reply",
		"the original message was received at", "the attachment contains the original",
		": message contains [",
	}
}
