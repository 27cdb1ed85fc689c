"""Makes and changes keys on a PyKMIP server, and prints their ids as JSON."""
import json
import sys

from kmip.core import enums
from kmip.pie import client

port, cert, key, ca, what, arg = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6]
with client.ProxyKmipClient(hostname="127.0.0.1", port=port, cert=cert, key=key, ca=ca, ssl_version="PROTOCOL_TLSv1_2") as c:

    def make(name):
        return c.create(enums.CryptographicAlgorithm.AES, 256, name=name,
                        cryptographic_usage_mask=[enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT])

    def make_all(many):
        ids = {"preActive": make("pre-active"), "active": make("active"), "deactivated": make("deactivated"),
               "compromised": make("compromised"), "destroyed": make("destroyed")}
        for name in ("active", "deactivated", "compromised"):
            c.activate(ids[name])
        c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, ids["deactivated"])
        c.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, ids["compromised"], "lost", 1700000000)
        c.destroy(ids["destroyed"])
        ids["many"] = [make("many-%d" % n) for n in range(many)]
        return ids

    if what == "make":
        answer = make_all(int(arg))
    elif what == "create":
        answer = make(arg)
    else:
        answer = arg
        if what == "activate":
            c.activate(arg)
        elif what == "deactivate":
            c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, arg)
        elif what == "destroy":
            c.destroy(arg)
print(json.dumps(answer))
