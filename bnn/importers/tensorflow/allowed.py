# SPDX-License-Identifier: Apache-2.0
"""What a model file may contain: TensorFlow ops and functions.

The ops that may be executed while a model is read, those that may appear in a SavedModel at all, and the functions that
a Keras file may call by name are allow lists.  Hundreds of TensorFlow's 1,500 ops write or read files, wait for other
ops or call functions, and every version adds new ones.  TensorFlow itself says little about this: ``DebugIdentity``,
which writes files, counts as stateless.
"""

from __future__ import annotations

MOST_CALLS = 100
"""Depth of calls of functions in functions."""

# Ops that only compute results from operands and attributes, and that networks and their quantizers use: these are
# executed.  A short list, since each kernel must be safe on whatever a file gives it, and the size of its results known
# before it runs (``sizes.py``).
_PURE = """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool BatchMatMul BatchMatMulV2
    BatchMatMulV3 BatchToSpaceND BiasAdd Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Cast Ceil
    CheckNumerics ClipByValue Concat ConcatOffset ConcatV2 Const Conv2D Conv2DBackpropInput Cos Cosh Cumprod Cumsum
    DepthToSpace DepthwiseConv2dNative Div DivNoNan Elu EnsureShape Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims
    Expm1 FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN
    Invert InvertPermutation IsFinite IsInf IsNan L2Loss LeakyRelu LeftShift Less LessEqual LinSpace Log Log1p
    LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 Max
    MaxPool Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg NotEqual OneHot OnesLike Pack Pad PadV2 Pow
    PreventGradient Prod QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 Range Rank RealDiv
    Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 RightShift Rint Roll Round Rsqrt
    ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign
    SpaceToBatchND SpaceToDepth SparseMatMul SparseTensorDenseMatMul Split SplitV Sqrt Square SquaredDifference Squeeze
    StopGradient StridedSlice Sub Sum Tan Tanh TensorScatterAdd TensorScatterUpdate Tile TopKV2 Transpose TruncateDiv
    TruncateMod Unpack Where Xdivy Xlog1py Xlogy ZerosLike
"""
PURE = frozenset(_PURE.split())
# Ops that only compute, too, and may stand in a file, but are never executed: gradients, and what no network needs
# (decompositions of matrices, transforms of signals, statistics of segments).
_UNUSED = """
    AccumulateNV2 AdjustContrastv2 AdjustHue AdjustSaturation Angle ApproximateEqual AvgPool3D AvgPool3DGrad AvgPoolGrad
    BatchToSpace Betainc BiasAddGrad BiasAddV1 Bincount BroadcastGradientArgs Bucketize Cholesky CholeskyGrad Complex
    ComplexAbs Conj ConjugateTranspose Conv Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInputV2 Conv3D
    Conv3DBackpropFilter Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2 Cross CumulativeLogsumexp
    DataFormatDimMap DataFormatVecPermute DenseBincount DepthwiseConv2dNativeBackpropFilter
    DepthwiseConv2dNativeBackpropInput Dequantize Diag DiagPart Digamma Dilation2D Dilation2DBackpropFilter
    Dilation2DBackpropInput DynamicPartition DynamicStitch Eig Einsum EluGrad ExtractImagePatches ExtractVolumePatches
    FFT FFT2D FFT3D FFTND FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVarsGradient
    FakeQuantWithMinMaxVarsPerChannelGradient FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 HSVToRGB IFFT
    IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Igamma IgammaGradA Igammac Imag InTopKV2 Inv InvGrad LRN LRNGrad
    LeakyReluGrad Lgamma ListDiff LogMatrixDeterminant LowerBound Lu MatrixDeterminant MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagV2 MatrixExponential MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSetDiagV2
    MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve MaxPool3D MaxPool3DGrad MaxPool3DGradGrad
    MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax
    MaxPoolV2 MaxPoolWithArgmax MirrorPadGrad Ndtri NextAfter NthElement Polygamma PopulationCount Qr
    QuantizeAndDequantize QuantizeAndDequantizeV4Grad QuantizeDownAndShrinkRange QuantizeV2 RFFT RFFT2D RFFT3D RFFTND
    RGBToHSV Real ReciprocalGrad Relu6Grad ReluGrad ResizeArea ResizeBicubic ResizeBicubicGrad ResizeBilinearGrad
    ResizeNearestNeighborGrad Reverse ReverseSequence RsqrtGrad SegmentMax SegmentMaxV2 SegmentMean SegmentMin
    SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 SelfAdjointEig SelfAdjointEigV2 SeluGrad SigmoidGrad
    SoftmaxCrossEntropyWithLogits SoftplusGrad SoftsignGrad SpaceToBatch SparseSegmentMean SparseSegmentMeanGrad
    SparseSegmentMeanGradV2 SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad
    SparseSegmentSqrtNGradV2 SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumGrad
    SparseSegmentSumGradV2 SparseSegmentSumWithNumSegments SparseSoftmaxCrossEntropyWithLogits SparseToDense SqrtGrad
    StridedSliceGrad Svd TanhGrad TensorScatterMax TensorScatterMin TensorScatterSub TopK Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 UnravelIndex UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
    UnsortedSegmentSum UpperBound Zeta
"""
UNUSED = frozenset(_UNUSED.split())

# Calls; each is replaced by the nodes of the called function.
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Ops that TensorFlow replaces by their functions' nodes while freezing: none of them is executed.
CONTROL = frozenset({"Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While"})
# The replacements of such ops.
LOWERED = frozenset({"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"})

# Ops that Keras' training steps, dropout and recurrent layers leave in a SavedModel; stateful, and never executed.
_KEPT = """
    Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2
    CudnnRNNBackpropV3 CudnnRNNV2 CudnnRNNV3 DisableCopyOnRead EmptyTensorList ImageProjectiveTransformV2
    ImageProjectiveTransformV3 Multinomial NoOp Placeholder PlaceholderWithDefault RandomShuffle RandomStandardNormal
    RandomUniform RandomUniformInt ReadVariableOp ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad
    ResourceApplyAdagradV2 ResourceApplyAdam ResourceApplyAdamWithAmsgrad ResourceApplyCenteredRMSProp
    ResourceApplyFtrl ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum
    ResourceApplyRMSProp ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterSub ResourceScatterUpdate
    RngReadAndSkip StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformInt
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformInt StatelessRandomUniformIntV2
    StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2 TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
    TensorListPushBack TensorListReserve TensorListResize TensorListSetItem TensorListStack TruncatedNormal VarHandleOp
    VarIsInitializedOp VariableShape
"""
KEPT = frozenset(_KEPT.split()) | UNUSED

# Ops that save and restore a SavedModel's variables.  TensorFlow 2 does not need them; they are never executed.
SAVER = frozenset({
    "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin",
})  # fmt: skip

# Keras 2 stores ``tf.nn.relu(x)`` in a functional model as a layer with the function's name, and calls any function
# that a file names.  These only compute.  All others need the user's permission: functions that read or write files,
# build graphs, keep state, draw random numbers, or switch TensorFlow to another mode.
_BY_MODULE = {
    "": """
        abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast
        boolean_mask broadcast_to cast clip_by_norm clip_by_value concat convert_to_tensor cos cosh cumsum divide
        einsum ensure_shape equal exp expand_dims extract_volume_patches eye fill floor gather gather_nd greater
        greater_equal guarantee_const identity identity_n less less_equal linspace logical_and logical_not
        logical_or matmul maximum meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow
        range rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
        reduce_sum repeat reshape reverse reverse_sequence roll round saturate_cast scalar_mul scatter_nd
        searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
        space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh
        tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub
        tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod unravel_index unstack
        where zeros zeros_like
    """,
    "__operators__": "add eq getitem ne",
    "bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    "debugging": "check_numerics",
    "dtypes": "cast saturate_cast",
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop convert_image_dtype
        crop_and_resize crop_to_bounding_box extract_patches flip_left_right flip_up_down grayscale_to_rgb
        hsv_to_rgb image_gradients pad_to_bounding_box per_image_standardization resize resize_with_crop_or_pad
        resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sobel_edges total_variation
        transpose yiq_to_rgb yuv_to_rgb
    """,
    "linalg": """
        adjoint band_part cholesky cross det diag diag_part einsum eye global_norm inv l2_normalize logdet matmul
        matrix_transpose matvec norm normalize qr set_diag solve svd tensor_diag tensor_diag_part tensordot trace
        triangular_solve
    """,
    "math": """
        abs accumulate_n acos acosh add add_n argmax argmin asin asinh atan atan2 atanh betainc bincount ceil conj
        cos cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf erfc
        erfcinv erfinv exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag in_top_k
        invert_permutation is_finite is_inf is_nan l2_normalize lbeta less less_equal lgamma log log1p log_sigmoid
        log_softmax logical_and logical_not logical_or logical_xor maximum minimum mod multiply multiply_no_nan
        ndtri negative nextafter not_equal polyval pow real reciprocal reciprocal_no_nan reduce_all reduce_any
        reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum
        reduce_variance rint round rsqrt scalar_mul segment_max segment_mean segment_min segment_prod segment_sum
        sigmoid sign sin sinh softmax softplus softsign sqrt square squared_difference subtract tan tanh top_k
        truediv unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod
        unsorted_segment_sum xdivy xlog1py xlogy zero_fraction
    """,
    "nn": """
        atrous_conv2d avg_pool avg_pool1d avg_pool2d avg_pool3d batch_normalization bias_add conv1d conv1d_transpose
        conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu depth_to_space
        depthwise_conv2d dilation2d elu embedding_lookup erosion2d gelu l2_loss l2_normalize leaky_relu
        local_response_normalization log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d max_pool_with_argmax
        moments normalize_moments pool relu relu6 selu separable_conv2d sigmoid silu softmax softplus softsign
        space_to_batch space_to_depth sufficient_statistics swish tanh top_k weighted_moments
        zero_fraction
    """,
    "quantization": """
        dequantize fake_quant_with_min_max_args fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_per_channel quantize quantize_and_dequantize quantize_and_dequantize_v2
    """,
    "signal": """
        dct fft fft2d fft3d frame idct ifft ifft2d ifft3d irfft irfft2d irfft3d overlap_and_add rfft rfft2d rfft3d
    """,
}  # fmt: skip
# Functions that exist only in TensorFlow 1.
_OLD = """
    batch_to_space_nd ceil check_numerics count_nonzero cross depth_to_space diag diag_part div div_no_nan erf erfc
    expm1 extract_image_patches floor_div floordiv floormod is_finite is_inf is_nan lgamma lin_space log log1p
    log_sigmoid logical_xor matrix_band_part matrix_diag matrix_diag_part matrix_set_diag matrix_transpose mod real
    reciprocal reverse_v2 rint rsqrt space_to_depth squared_difference to_bfloat16 to_double to_float to_int32
    to_int64 trace where_v2 image.extract_image_patches image.resize_area image.resize_bicubic image.resize_bilinear
    image.resize_image_with_crop_or_pad image.resize_image_with_pad image.resize_images
    image.resize_nearest_neighbor image.transpose_image nn.avg_pool_v2 nn.depthwise_conv2d_native
    nn.fused_batch_norm nn.max_pool_v2 nn.relu_layer nn.xw_plus_b
"""

_NEW = frozenset(f"{module}.{name}".lstrip(".") for module, names in _BY_MODULE.items() for name in names.split())
FUNCTIONS = _NEW | {f"compat.v1.{name}" for name in (*_NEW, *_OLD.split())}
