package diagnose

// The reasons that say whose a limit is or that only a session ended. The relay acts on them, beyond explaining them:
// it waits, slows down or pauses. All other reasons are known by name to the guide alone.
const (
	ReasonTooManyConnections Reason = "too_many_connections"
	ReasonSessionTimeout     Reason = "session_timeout"
	ReasonSessionMessages    Reason = "too_many_messages_session"
	ReasonSessionErrors      Reason = "too_many_errors"
	ReasonUnconfirmedIP      Reason = "ip_unconfirmed_rate"
	ReasonQuotaExceeded      Reason = "quota_exceeded"
	ReasonTenantThreshold    Reason = "tenant_threshold"
	ReasonGreylisted         Reason = "greylisted"
	ReasonRecipientRate      Reason = "recipient_rate_limited"
)
