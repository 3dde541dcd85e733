import os
from paste import deploy


def softhsm_shim():
    """Makes Barbican 15 (Debian 12) wrap project keys with RFC 5649, as Barbican 20 (Debian 13) can be configured
    to do. Barbican 15 supports only CKM_AES_CBC_PAD, which SoftHSM 2.6 lacks (SoftHSMv2 issue 405)."""
    from barbican.plugin.crypto import pkcs11 as m
    if hasattr(m, "CKM_AES_KEY_WRAP_PAD"):
        return                       # a newer Barbican: key_wrap_mechanism in barbican.conf applies

    def mech_of(self):
        mech = self.ffi.new("CK_MECHANISM *")
        mech.mechanism = 0x210A      # CKM_AES_KEY_WRAP_PAD of SoftHSM; it takes no parameter
        mech.parameter = self.ffi.NULL
        mech.parameter_len = 0
        return mech

    def wrap_key(self, wrapping_key, key_to_wrap, session):
        mech, n = mech_of(self), self.ffi.new("CK_ULONG *")
        self._check_error(self.lib.C_WrapKey(session, mech, wrapping_key, key_to_wrap, self.ffi.NULL, n))
        out = self.ffi.new("CK_BYTE[{0}]".format(n[0]))
        self._check_error(self.lib.C_WrapKey(session, mech, wrapping_key, key_to_wrap, out, n))
        return {"iv": bytes(16), "wrapped_key": self.ffi.buffer(out, n[0])[:]}

    def unwrap_key(self, wrapping_key, iv, wrapped_key, session):
        A, key = m.Attribute, self.ffi.new("CK_OBJECT_HANDLE *")
        attrs = self._build_attributes([
            A(m.CKA_CLASS, m.CKO_SECRET_KEY), A(m.CKA_KEY_TYPE, m.CKK_AES), A(m.CKA_TOKEN, False),
            A(m.CKA_PRIVATE, True), A(m.CKA_SENSITIVE, True), A(m.CKA_ENCRYPT, True),
            A(m.CKA_DECRYPT, True), A(m.CKA_EXTRACTABLE, True)])
        self._check_error(self.lib.C_UnwrapKey(
            session, mech_of(self), wrapping_key, self.ffi.new("CK_BYTE[]", wrapped_key), len(wrapped_key),
            attrs.template, len(attrs.template), key))
        return key[0]

    m.PKCS11.wrap_key, m.PKCS11.unwrap_key = wrap_key, unwrap_key


softhsm_shim()
application = deploy.loadapp("config:" + os.environ["BARBICAN_PASTE"])
