"""Pickles that run something when a careless reader loads them: callables of published attacks, in all spellings.

Each would call its global with one text argument, or build an object of it; no test ever loads one with `pickle`.
"""

from functools import cache

GADGETS = tuple(
    tuple(line.split())
    for line in """
    os system
    posix system
    nt system
    os popen
    os execv
    os spawnl
    os remove
    os putenv
    posix fork
    posixpath expandvars
    subprocess Popen
    subprocess check_output
    subprocess getoutput
    _posixsubprocess fork_exec
    pty spawn
    commands getoutput
    popen2 popen3
    platform popen
    asyncio.unix_events _UnixSubprocessTransport._start
    multiprocessing.util spawnv_passfds
    builtins eval
    builtins exec
    builtins compile
    builtins getattr
    builtins setattr
    builtins delattr
    builtins __import__
    builtins open
    builtins input
    builtins breakpoint
    builtins globals
    builtins vars
    builtins map
    builtins filter
    builtins apply
    builtins memoryview
    builtins bytearray
    builtins type
    builtins super
    builtins range
    builtins list
    builtins int.__class__
    builtins object.__subclasses__
    builtins BaseException
    builtins print
    __builtin__ eval
    __builtin__ execfile
    __builtin__ file
    __builtin__ apply
    __builtin__ reduce
    __main__ main
    sys modules
    sys exit
    sys settrace
    sys setrecursionlimit
    importlib import_module
    importlib.machinery SourceFileLoader
    imp load_source
    runpy run_path
    runpy _run_code
    pkgutil resolve_name
    code InteractiveInterpreter.runcode
    codeop compile_command
    timeit timeit
    timeit main
    bdb Bdb.run
    pdb run
    cProfile run
    profile Profile.run
    trace Trace.run
    doctest debug_script
    pydoc locate
    pydoc pipepager
    test.support.script_helper assert_python_ok
    types FunctionType
    types CodeType
    types MethodType
    types SimpleNamespace
    operator attrgetter
    operator itemgetter
    operator methodcaller
    operator call
    _operator attrgetter
    functools partial
    functools reduce
    _functools partial
    itertools starmap
    itertools accumulate
    itertools product
    collections OrderedDict
    collections defaultdict
    collections UserDict
    marshal loads
    pickle loads
    pickle load
    _pickle loads
    _pickle Unpickler
    cPickle loads
    dill loads
    cloudpickle loads
    cloudpickle.cloudpickle _make_function
    joblib load
    shelve open
    yaml unsafe_load
    jsonpickle decode
    copyreg _reconstructor
    copyreg __newobj__
    copyreg __newobj_ex__
    copyreg add_extension
    copy_reg _reconstructor
    codecs decode
    codecs open
    _codecs decode
    _codecs lookup
    _codecs register
    encodings search_function
    base64 b64decode
    zlib decompress
    gzip open
    bz2 open
    lzma open
    zipfile ZipFile
    tarfile open
    io open
    io FileIO
    _io FileIO
    io.open_code x
    pathlib Path.write_text
    tempfile mktemp
    shutil rmtree
    shutil copyfile
    glob glob
    logging.config fileConfig
    logging FileHandler
    socket socket
    socket create_connection
    urllib.request urlopen
    http.client HTTPConnection
    ftplib FTP
    smtplib SMTP
    webbrowser open
    ctypes CDLL
    ctypes.util find_library
    cffi FFI
    mmap mmap
    signal raise_signal
    faulthandler _sigsegv
    gc get_objects
    weakref ref
    threading Thread
    atexit register
    sqlite3 connect
    site addsitedir
    venv create
    ensurepip bootstrap
    pip main
    setuptools setup
    distutils.file_util write_file
    idlelib.run Executive.runcode
    lib2to3.pgen2.pgen generate_grammar
    unittest.mock _importer
    numpy load
    numpy save
    numpy loadtxt
    numpy genfromtxt
    numpy fromfile
    numpy memmap
    numpy core
    numpy vectorize
    numpy frompyfunc
    numpy record
    numpy recarray
    numpy matrix
    numpy ndarray.tofile
    numpy ndarray.dump
    numpy ndarray.__setstate__
    numpy ndarray.__reduce__
    numpy dtype.__init__
    numpy ufunc
    numpy.core.multiarray fromfile
    numpy.core.multiarray _reconstruct.__call__
    numpy.core.multiarray add_docstring
    numpy.core.multiarray fromiter
    numpy._core.multiarray set_string_function
    numpy.core.numeric _frombuffer.__globals__
    numpy.core.records fromfile
    numpy.core._internal _reconstruct
    numpy.lib.npyio DataSource
    numpy.lib._datasource open
    numpy.lib.npyio NpzFile
    numpy.lib.format read_array
    numpy.lib.utils safe_eval
    numpy.f2py compile
    numpy.f2py.crackfortran myeval
    numpy.f2py.crackfortran param_eval
    numpy.f2py.diagnose run_command
    numpy.f2py.f2py2e main
    numpy.distutils.exec_command exec_command
    numpy.distutils.cpuinfo getoutput
    numpy.testing runstring
    numpy.testing._private.utils runstring
    numpy.testing._private.utils run_subprocess
    numpy.random._pickle __randomstate_ctor
    numpy.ma.core _mareconstruct
    numpy.ctypeslib load_library
    scipy.io loadmat
    scipy.sparse load_npz
    scipy.sparse bsr_matrix
    scipy.sparse.csc csc_matrix.__init__
    scipy._lib._ccallback LowLevelCallable
    scipy.optimize minimize
    scipy.linalg.lapack _f2py
    pandas eval
    pandas read_pickle
    pandas.core.computation.ops eval
    pandas.io.common get_handle
    torch load
    torch.hub load
    torch._utils _rebuild_tensor_v2
    torch._utils _rebuild_parameter
    torch.storage _load_from_bytes
    torch.serialization load
    torch.jit load
    torch.utils.cpp_extension load_inline
    torch.utils._config_module ConfigModule.load_config
    torch.utils.collect_env run
    torch._dynamo.guards GuardBuilder.get
    torch._inductor.codecache PyCodeCache.load
    torch.utils.bottleneck.__main__ run_autograd_prof
    torch.utils.data.datapipes.utils.decoder basichandlers
    torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
    torch FloatStorage
    tensorflow.python.util nest
    keras.models load_model
    ray cloudpickle.loads
    ray.cloudpickle loads
    duckdb connect
    pyarrow fs.LocalFileSystem
    pyarrow.lib _restore_array
    fsspec open
    s3fs S3FileSystem
    PIL.Image open
    PIL.ImageMath eval
    simplejpeg decode_jpeg
    chumpy.ch os
    chumpy.utils sys
    chumpy ch
    chumpy.ch Ch.__init__
    chumpy.ch Ch.compute_dr_wrt
    pipeline.safe_pickle load_body_pickle
    pipeline.safe_pickle.unpickling _Unpickler
    pipeline.safe_pickle.placeholder Inert
    pipeline.labels LabelStore
    """.strip().splitlines()
)
"""(module, name)."""

_ARGUMENT = b"touch PWNED"


def _text(value: bytes) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value


@cache
def spelled(module: str, name: str) -> dict[str, bytes]:
    """The ways to name a global and to use it, as complete pickles."""
    m, n = module.encode(), name.encode()
    by_text, by_stack = b"c" + m + b"\n" + n + b"\n", _text(m) + _text(n) + b"\x93"
    memoised = _text(n) + b"\x94" + _text(m) + b"\x94h\x01h\x00\x93"
    argument, pair = b"(S'" + _ARGUMENT + b"'\nt", _text(_ARGUMENT) + b"\x85"
    top, _, rest = m.partition(b".")
    reconstruct = _text(b"numpy.core.multiarray") + _text(b"_reconstruct") + b"\x93"
    dtype = _text(b"numpy") + _text(b"dtype") + b"\x93"
    return {
        "GLOBAL REDUCE": by_text + argument + b"R.",
        "STACK_GLOBAL REDUCE": b"\x80\x04" + by_stack + pair + b"R.",
        "memoised names": b"\x80\x04" + memoised + pair + b"R.",
        "only named": b"\x80\x04" + by_stack + b".",
        "dotted": b"\x80\x04" + _text(top) + _text(rest + b"." + n) + b"\x93" + pair + b"R.",
        "INST": b"(S'" + _ARGUMENT + b"'\ni" + m + b"\n" + n + b"\n.",
        "OBJ": b"(" + by_text + b"S'" + _ARGUMENT + b"'\no.",
        "NEWOBJ": b"\x80\x02" + by_text + pair + b"\x81.",
        "NEWOBJ_EX": b"\x80\x04" + by_stack + pair + b"}\x92.",
        "BUILD": b"\x80\x02" + by_text + b")R}U\x08__dict__Nsb.",
        "in a list of people": b"\x80\x04](}" + _text(b"center") + by_stack + pair + b"Rse.",
        "as an array's class": b"\x80\x04" + reconstruct + by_stack + b"K\x00\x85C\x01b\x87R.",
        "as a dtype": b"\x80\x04" + dtype + by_stack + b"\x85R.",
        "as a state": b"\x80\x04" + dtype + _text(b"f8") + b"\x85R" + by_stack + b"b.",
        "as a reconstructor's": b"\x80\x04" + _text(b"copyreg") + _text(b"_reconstructor") + b"\x93" + by_stack
        + _text(b"builtins") + _text(b"object") + b"\x93N\x87R.",
        "nested": b"\x80\x04" + _text(b"pickle") + _text(b"loads") + b"\x93C" + bytes([min(len(by_text) + 3, 255)])
        + (by_text + b")R.")[:255] + b"\x85R.",
    }  # fmt: skip


@cache
def gadget_pickles() -> tuple[bytes, ...]:
    return tuple(data for gadget in GADGETS for data in spelled(*gadget).values())
