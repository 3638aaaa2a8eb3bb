"""Reads delivery status notifications with Python's email package and fails on any defect."""
import email
import email.policy
import sys

for name in sys.argv[1:]:
    with open(name, "rb") as f:
        m = email.message_from_binary_file(f, policy=email.policy.default)
    if name.endswith("digest.eml"):
        assert m.get_content_type() == "multipart/mixed", name
        assert not [p for p in m.walk() if p.defects], name
        print("ok", name)
        continue
    assert m.get_content_type() == "multipart/report", name
    assert m.get_param("report-type") == "delivery-status", name
    for part in m.walk():
        assert not part.defects, (name, part.get_content_type(), part.defects)
    parts = m.get_payload()
    assert parts[0].get_content_type() == "multipart/alternative", name
    text = parts[0].get_payload()[0].get_content()
    assert text.startswith("This is the mail system at host "), name
    assert "Recipient:" in text, name
    status = parts[1]
    kind = status.get_content_type()
    if kind == "message/delivery-status":
        blocks = status.get_payload()
    else:
        assert kind == "message/global-delivery-status", name
        raw = status.get_payload(decode=True)
        blocks = [email.message_from_bytes(b, policy=email.policy.default) for b in (raw or b"").split(b"\r\n\r\n") if b] or None
    if blocks:
        assert blocks[0]["Reporting-MTA"], name
        assert len(blocks) >= 2, name
        for b in blocks[1:]:
            assert not b.defects, (name, b.defects)
            for field in ("Final-Recipient", "Action", "Status"):
                assert b[field], (name, field)
    if len(parts) > 2:
        assert parts[2].get_content_type() in (
            "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"), name
    print("ok", name)
