from pysyncobj.config import FAIL_REASON as FAIL_REASON
from pysyncobj.config import SERIALIZER_STATE as SERIALIZER_STATE
from pysyncobj.config import SyncObjConf as SyncObjConf
from pysyncobj.syncobj import _RAFT_STATE as _RAFT_STATE
from pysyncobj.syncobj import SyncObj as SyncObj
